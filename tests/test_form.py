"""What the linter cannot hold: annotations of public functions, formatting."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "egnas_jax").rglob("*.py"))


def public_functions(tree: ast.Module):
    """Module-level functions, and methods of public classes, without an underscore."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for owner in [tree, *(node for node in classes if node.name[0] != "_")]:
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
                yield node


@pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "egnas_jax"))
)
def test_public_functions_are_fully_annotated(path):
    missing = []
    for function in public_functions(ast.parse(path.read_text())):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        arguments += filter(None, (given.vararg, given.kwarg))
        missing += [
            f"{function.name}({argument.arg})"
            for argument in arguments
            if argument.annotation is None and argument.arg not in ("self", "cls")
        ]
        if function.returns is None:
            missing.append(f"{function.name} -> ?")
    assert not missing, missing


def test_the_formatter_is_rarely_switched_off():
    skips = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("egnas_jax", "experiments", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if line.rstrip().endswith(("# fmt: skip", "# fmt: off"))
    ]
    assert len(skips) <= 10, skips
