"""Reads the `Genotype(...)` text that torch repositories print, without running it.

The text is parsed into a syntax tree, and the tree is walked here: strings, whole
numbers, lists, tuples and `range(a, b)` are understood, all else is an error that
names the piece. Nothing is ever evaluated.
"""

import ast

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")

# Published texts have below a thousand characters; the bounds keep hostile ones from
# exhausting the parser's stack or the memory.
MAX_CHARACTERS = 20_000
MAX_RANGE = 100

HOWTO = (
    "Allowed: Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6)), optionally after `NAME =`."
)


def read_genotype(text: str) -> dict:
    """Arguments of a `Genotype(...)` text by name.

    Args:
      text: the call, by keyword or by position, optionally assigned to a name.

    Returns:
      The four fields, as nested tuples of strings and ints; their meaning is not
      checked here.

    Raises:
      ValueError: the text holds anything but literals and `range(a, b)`, or its
        arguments are not the four fields, once each.
    """
    try:
        return _fields(_call(text))
    except RecursionError:
        raise ValueError(
            f"Not a genotype, nested too deeply: {_shorten(text)}. {HOWTO}"
        ) from None


def _fields(call):
    """Values of the call's arguments by field."""
    if len(call.args) > len(FIELDS):
        raise ValueError(f"Genotype takes 4 arguments, got {len(call.args)}. {HOWTO}")
    named = list(zip(FIELDS, call.args, strict=False))
    named += [(keyword.arg, keyword.value) for keyword in call.keywords]
    fields = {}
    for name, node in named:
        if name not in FIELDS:
            raise ValueError(f"Genotype has no field {name or '**'!r}. {HOWTO}")
        if name in fields:
            raise ValueError(f"Genotype got the field {name!r} twice. {HOWTO}")
        fields[name] = _value(node)
    missing = [name for name in FIELDS if name not in fields]
    if missing:
        raise ValueError(f"Genotype lacks {', '.join(missing)}. {HOWTO}")
    return fields


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
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, MemoryError) as error:
        reason = str(error) or "too complex"
        raise ValueError(
            f"Not a genotype: {_shorten(text)} ({reason}). {HOWTO}"
        ) from None
    node = body[0] if len(body) == 1 else None
    if isinstance(node, ast.Expr) or (
        isinstance(node, ast.Assign) and all(map(_name, node.targets))
    ):
        node = node.value
    if not (isinstance(node, ast.Call) and _name(node.func) == "Genotype"):
        raise ValueError(f"Not a genotype: {_shorten(text)}. {HOWTO}")
    return node


def _value(node):
    """Value of a literal or of a range of whole numbers."""
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Constant) and type(node.value) in (int, str):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        if isinstance(number, int):
            return -number
    if isinstance(node, ast.Call) and not node.keywords:
        name, arguments = _name(node.func), node.args
        if name in ("list", "tuple") and len(arguments) == 1:
            return _value(arguments[0])
        if name == "range" and len(arguments) == 2:
            return _range(node)
    raise ValueError(
        f"A genotype holds strings, whole numbers, lists, tuples and range(a, b); "
        f"found {_shorten(ast.unparse(node))}. Nothing was run. {HOWTO}"
    )


def _range(node):
    """The numbers of a `range(a, b)` call."""
    start, stop = (_value(argument) for argument in node.args)
    whole = isinstance(start, int) and isinstance(stop, int)
    if not whole or stop - start > MAX_RANGE:
        raise ValueError(
            f"range(a, b) takes two whole numbers at most {MAX_RANGE} apart; "
            f"found {_shorten(ast.unparse(node))}. {HOWTO}"
        )
    return tuple(range(start, stop))


def _name(node):
    return node.id if isinstance(node, ast.Name) else None


def _shorten(text, limit=80):
    """One line of at most `limit` characters, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= limit else line[: limit - 3] + "...")
