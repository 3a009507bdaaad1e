"""Finds the genotypes of a Python module such as genotypes.py, without running it.

Comments and docstrings do not count. Texts in the module do, as in
`eval("Genotype(...)")`.
"""

import ast
import warnings
from collections.abc import Iterator

from egnas_jax.space.genotype_forms import is_template, text_pieces

MAX_MODULE = 1_000_000  # characters that are parsed as Python; longer texts are logs
FIELDS_OF_PAIRS = ("normal", "reduce")
CELLS = ("Structure", "CellStructure", "Topology")


def python_pieces(text: str) -> list[str]:
    """The written genotypes of a Python module, in the order of the text.

    Returns:
      The source of each one; [] for a text that is no Python.
    """
    if len(text) > MAX_MODULE:
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in the text
            return list(_pieces(ast.parse(text.strip())))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def _pieces(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Constant()):
            return  # a docstring
        case ast.Constant(value=str(text)):
            yield from _pieces_of_string(text)
            return
        case ast.Constant(value=bytes(content)):
            yield from _pieces_of_string(content.decode(errors="replace"))
            return
    if _is_written(node):
        piece = ast.unparse(_without_module(node))
        if not is_template(piece):
            yield piece
        return
    for child in ast.iter_child_nodes(node):
        yield from _pieces(child)


def _pieces_of_string(text: str) -> list[str]:
    try:
        return text_pieces(text)
    except ValueError:  # a part of a message
        return []


def _is_written(node: ast.AST) -> bool:
    """Whether a node is a genotype whose pairs are visible."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if name in CELLS:
                return any(isinstance(each, ast.List | ast.Tuple) for each in arguments)
            if name in ("Genotype", "genotype") and node.args:
                return _holds_pairs(node.args[0])
            items = [(keyword.arg, keyword.value) for keyword in node.keywords]
        case ast.Dict(keys=keys, values=values):
            items = [
                (getattr(key, "value", None), value)
                for key, value in zip(keys, values, strict=True)
            ]
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            items = [
                (getattr(entry.elts[0], "value", None), entry.elts[1])
                for entry in entries
                if isinstance(entry, ast.List | ast.Tuple) and len(entry.elts) == 2
            ]
        case _:
            return False
    return any(
        name in FIELDS_OF_PAIRS and _holds_pairs(value)
        for name, value in items
        if isinstance(name, str)
    )


def _holds_pairs(value: ast.expr) -> bool:
    """Whether a value is a list of pairs, or of nodes with pairs."""
    if isinstance(value, ast.Call):  # list(...), array(...)
        return any(map(_holds_pairs, value.args))
    if not isinstance(value, ast.List | ast.Tuple) or not value.elts:
        return False
    first = value.elts[0]
    if not isinstance(first, ast.List | ast.Tuple) or not first.elts:
        return False
    name = first.elts[0]
    if isinstance(name, ast.Call) and name.args:  # np.str_("none")
        name = name.args[0]
    is_name = isinstance(name, ast.Constant) and isinstance(name.value, str)
    return is_name or _holds_pairs(first)


def _without_module(node: ast.expr) -> ast.expr:
    """`Genotype(...)` for `genotypes.Genotype(...)`."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=args, keywords=keywords):
            return ast.Call(ast.Name(name), args, keywords)
    return node
