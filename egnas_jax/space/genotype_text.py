"""Reads the written forms of genotypes without evaluating anything.

Torch repositories print a genotype as Python: `Genotype(normal=[...], ...)`, or as a
dictionary of the same fields. The text is parsed into a syntax tree, which may hold
strings, numbers, lists, tuples and `range(a, b)`, and values as numpy and torch print
them: `np.float32(0.5)`, `array([2, 3])`, `tensor(0.5, grad_fn=<MaxBackward0>)`.
`ast.literal_eval` is no substitute: it has no calls, and it accepts booleans, which a
genotype must not hold.
"""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")

# Published texts have less than a thousand characters. The limits keep a hostile text
# from overflowing the parser's stack or filling the memory.
MAX_CHARACTERS = 20_000
MAX_RANGE = 100
PRINTED_NUMBERS = re.compile(r"(np\.|numpy\.|torch\.)?(u?int\d*|float\d*|array|tensor)")
PRINTED_LISTS = re.compile(r"(np\.|numpy\.|torch\.)?(array|tensor)|list|tuple")
PRINTED_STRINGS = re.compile(r"(np\.|numpy\.)?str_")
NOT_FINITE = re.compile(r"-?(?:(?:np|numpy|math|torch)\.)?(nan|inf)")
NO_PYTHON = re.compile(r",\s*\w+=<[^<>\n]*>")  # grad_fn=<MaxBackward0> in a tensor

HOWTO = (
    "Allowed: Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6)), optionally after `NAME =`."
)


def read_fields(text: str) -> dict[str, Any]:
    """Reads the arguments of a `Genotype(...)` text.

    Args:
      text: the call, with arguments by keyword or by position; or a dictionary of the
        fields, a list of its items, or a call by another name with the fields as
        keywords. These may hold other things, which are not read. The whole may be
        assigned to a name.

    Returns:
      Field name -> nested tuples of strings and numbers. Their meaning is not checked.

    Raises:
      ValueError: the text holds anything except literals and `range(a, b)`, or its
        arguments are not the four fields, once each. Other fields may be None.
    """
    try:
        nodes = _arguments(_named(_expression(text)))
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


def read_argument(text: str) -> Any:
    """Reads the one argument of a call such as `Structure([...])`, by name or position.

    Returns:
      Nested tuples of strings and numbers. Their meaning is not checked.

    Raises:
      ValueError: the call has another number of arguments, or holds anything except
        literals.
    """
    match _expression(text):
        case ast.Call(func=ast.Name(), args=[value], keywords=[]):
            return _value(value)
        case ast.Call(func=ast.Name(), args=[], keywords=[ast.keyword(value=value)]):
            return _value(value)
    raise ValueError(f"One argument was expected, a list: {_shorten(text)}.")


def _expression(text):
    """The syntax tree of the one expression that the text must be."""
    if not isinstance(text, str):
        raise ValueError(f"A genotype's text must be a str, got {text!r}. {HOWTO}")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"A genotype's text has at most {MAX_CHARACTERS} characters, "
            f"got {len(text)}. {HOWTO}"
        )
    try:
        statements = ast.parse(NO_PYTHON.sub("", text.strip())).body
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
            raise ValueError(f"Not a genotype: {_shorten(text)}. {HOWTO}")
    return call


def _named(expression):
    """Names and syntax trees of the arguments of a call or a dictionary."""
    match expression:
        case ast.Call(
            func=ast.Name(id="Genotype" | "genotype"), args=args, keywords=keywords
        ):
            if len(args) > len(FIELDS):
                raise ValueError(
                    f"Genotype takes 4 arguments, got {len(args)}. {HOWTO}"
                )
            named = list(zip(FIELDS, args, strict=False))
            return named + [(keyword.arg, keyword.value) for keyword in keywords]
        case ast.Call(
            func=ast.Name(id="dict" | "OrderedDict"), args=[items], keywords=[]
        ):
            return _named(items)
    named = [(name, node) for name, node in _items(expression) if name in FIELDS]
    if named:
        return named
    raise ValueError(f"Not a genotype: {_shorten(ast.unparse(expression))}. {HOWTO}")


def _items(expression):
    """Names and syntax trees of a dictionary, of its items or of keywords."""
    match expression:
        case ast.Call(func=ast.Name(), args=[], keywords=keywords):
            return [(keyword.arg, keyword.value) for keyword in keywords]
        case ast.Dict(keys=keys, values=values):
            return [
                (getattr(key, "value", None), value)
                for key, value in zip(keys, values, strict=True)
            ]
        case ast.List(elts=pairs) | ast.Tuple(elts=pairs):
            return [
                (getattr(pair.elts[0], "value", None), pair.elts[1])
                for pair in pairs
                if isinstance(pair, ast.List | ast.Tuple) and len(pair.elts) == 2
            ]
    return []


def _arguments(named):
    """The four fields, as syntax trees."""
    nodes = {}
    for name, node in named:
        if name not in FIELDS:
            if name and isinstance(node, ast.Constant) and node.value is None:
                continue  # AutoDL-Projects adds connectN=None, connects=None
            raise ValueError(f"Genotype has no field {name or '**'!r}. {HOWTO}")
        if name in nodes:
            raise ValueError(f"Genotype got the field {name!r} twice. {HOWTO}")
        nodes[name] = node
    missing = [name for name in FIELDS if name not in nodes]
    if missing:
        raise ValueError(f"Genotype lacks {', '.join(missing)}. {HOWTO}")
    return nodes


def _value(node):
    """The value of a literal, a printed number or list, or a range of whole numbers."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float, str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if type(
            value
        ) in (int, float):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return tuple(map(_value, items))
        case ast.Call(func=ast.Name(id="range"), args=[_, *_] as bounds, keywords=[]):
            return _range(node, list(map(_value, bounds)))
        case ast.Call(args=[argument]):
            return _printed(node, argument)
        case ast.Name() | ast.Attribute() | ast.UnaryOp() if match := (
            NOT_FINITE.fullmatch(ast.unparse(node))
        ):
            return float(match[1])
    raise _not_allowed(node)


def _not_allowed(node):
    return ValueError(
        f"A genotype holds strings, numbers, lists, tuples and range(a, b); "
        f"found {_shorten(ast.unparse(node))}. Nothing was run. {HOWTO}"
    )


def _printed(node, argument):
    """The value of a call that numpy or torch prints; other arguments say its type."""
    function = ast.unparse(node.func)
    is_list = isinstance(argument, ast.List | ast.Tuple | ast.Call)
    if PRINTED_LISTS.fullmatch(function) and is_list:
        return _value(argument)
    is_string = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    if PRINTED_STRINGS.fullmatch(function) and is_string:
        return argument.value
    if not PRINTED_NUMBERS.fullmatch(function):
        raise _not_allowed(node)
    if function == "float" and is_string and NOT_FINITE.fullmatch(argument.value):
        return float(argument.value)
    value = _value(argument)
    if isinstance(value, str | tuple):
        raise ValueError(
            f"One number was expected; found {_shorten(ast.unparse(node))}. {HOWTO}"
        )
    return value


def _range(node, bounds):
    are_integers = all(isinstance(bound, int) for bound in bounds)
    if are_integers and len(bounds) <= 3 and bounds[2:] != [0]:
        numbers = range(*bounds)
        # len() of a longer range may overflow.
        if not numbers[MAX_RANGE : MAX_RANGE + 1]:
            return tuple(numbers)
    raise ValueError(
        f"range(a, b) takes two whole numbers, and perhaps a step, and has at most "
        f"{MAX_RANGE} entries; found {_shorten(ast.unparse(node))}. {HOWTO}"
    )


def _shorten(text, limit=80):
    """One line of at most `limit` characters, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 3] + "...")
