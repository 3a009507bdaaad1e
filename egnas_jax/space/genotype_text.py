"""Reads the written forms of genotypes without evaluating anything.

Torch repositories print a genotype as Python: `Genotype(normal=[...], ...)`. The text
is parsed into a syntax tree, which may hold strings, whole numbers, lists, tuples and
`range(a, b)`. `ast.literal_eval` is no substitute: it has no `range`, and it accepts
floats, booleans and dictionaries, which a genotype must not hold.
"""

import ast
import json
from collections.abc import Sequence
from typing import Any

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")

# Published texts have less than a thousand characters. The limits keep a hostile text
# from overflowing the parser's stack or filling the memory.
MAX_CHARACTERS = 20_000
MAX_RANGE = 100

HOWTO = (
    "Allowed: Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6)), optionally after `NAME =`."
)


def read_genotype(text: str) -> dict[str, Any]:
    """Reads the arguments of a `Genotype(...)` text.

    Args:
      text: the call, with arguments by keyword or by position, which may be assigned to
        a name.

    Returns:
      Field name -> nested tuples of strings and ints. Their meaning is not checked.

    Raises:
      ValueError: the text holds anything but literals and `range(a, b)`, or its
        arguments are not the four fields, once each.
    """
    try:
        nodes = _arguments(_call(text))
        return {name: _value(node) for name, node in nodes.items()}
    except RecursionError:
        raise ValueError(
            f"Not a genotype, nested too deeply: {_shorten(text)}. {HOWTO}"
        ) from None


def read_json_fields(text: str, fields: Sequence[str], what: str) -> dict[str, Any]:
    """Reads a JSON object with exactly these fields.

    Args:
      text: the JSON.
      fields: their names.
      what: what the object stands for, as the message calls it ("a genotype").

    Raises:
      ValueError: the text is no JSON, or no object with exactly these fields.
    """
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The JSON of {what} cannot be read: {error}.") from None
    if not isinstance(value, dict) or set(value) != set(fields):
        content = sorted(value) if isinstance(value, dict) else value
        raise ValueError(
            f"The JSON of {what} is an object with exactly the fields "
            f"{', '.join(fields)}; got {str(content)[:200]}."
        )
    return value


def _call(text):
    """The syntax tree of the one call that the text must be."""
    if not isinstance(text, str):
        raise ValueError(f"A genotype's text must be a str, got {text!r}. {HOWTO}")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"A genotype's text has at most {MAX_CHARACTERS} characters, "
            f"got {len(text)}. {HOWTO}"
        )
    try:
        statements = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError) as error:
        reason = str(error) or "too complex"
        raise ValueError(
            f"Not a genotype: {_shorten(text)} ({reason}). {HOWTO}"
        ) from None
    match statements:
        case [ast.Expr(value=call)]:
            pass
        case [ast.Assign(targets=targets, value=call)] if all(
            isinstance(target, ast.Name) for target in targets
        ):
            pass
        case _:
            call = None
    match call:
        case ast.Call(func=ast.Name(id="Genotype")):
            return call
    raise ValueError(f"Not a genotype: {_shorten(text)}. {HOWTO}")


def _arguments(call):
    """The call's arguments by field, as syntax trees."""
    if len(call.args) > len(FIELDS):
        raise ValueError(f"Genotype takes 4 arguments, got {len(call.args)}. {HOWTO}")
    named = list(zip(FIELDS, call.args, strict=False))
    named += [(keyword.arg, keyword.value) for keyword in call.keywords]
    nodes = {}
    for name, node in named:
        if name not in FIELDS:
            raise ValueError(f"Genotype has no field {name or '**'!r}. {HOWTO}")
        if name in nodes:
            raise ValueError(f"Genotype got the field {name!r} twice. {HOWTO}")
        nodes[name] = node
    missing = [name for name in FIELDS if name not in nodes]
    if missing:
        raise ValueError(f"Genotype lacks {', '.join(missing)}. {HOWTO}")
    return nodes


def _value(node):
    """The value of a literal or of a range of whole numbers."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if (
            type(value) is int
        ):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(map(_value, items))
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[items], keywords=[]):
            return _value(items)
        case ast.Call(func=ast.Name(id="range"), args=[first, stop], keywords=[]):
            return _range(node, _value(first), _value(stop))
    raise ValueError(
        f"A genotype holds strings, whole numbers, lists, tuples and range(a, b); "
        f"found {_shorten(ast.unparse(node))}. Nothing was run. {HOWTO}"
    )


def _range(node, first, stop):
    are_integers = isinstance(first, int) and isinstance(stop, int)
    if not are_integers or stop - first > MAX_RANGE:
        raise ValueError(
            f"range(a, b) takes two whole numbers at most {MAX_RANGE} apart; "
            f"found {_shorten(ast.unparse(node))}. {HOWTO}"
        )
    return tuple(range(first, stop))


def _shorten(text, limit=80):
    """One line of at most `limit` characters, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 3] + "...")
