"""Imports point one way."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "egnas_jax"
ORDER = [
    {"types", "lookup", "picture"},
    {"space", "data", "evolution", "record", "checkpoint", "tensorboard"},
    {"nn"},
    {"search", "interop"},
    {"strategies", "retrain", "export", "report"},
    {"config"},
    {"tabular"},
    {"recipes"},
    {"run_directory"},
    {"preparation", "run_start"},
    {"run", "verify", "exhausted"},
    {"retrain_run", "searched"},
    {"rank_run", "noise"},
    {"trained"},
    {"evaluate_run"},
    {"console"},
    {"distributed"},
    {"commands"},
    {"cli"},
]
RANKS = {part: rank for rank, parts in enumerate(ORDER) for part in parts}


def imported_parts(source):
    """First name below `egnas_jax` of every import, at any depth of the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            continue
        for name in full:
            package, _, rest = name.partition(".")
            if package == "egnas_jax" and rest:
                yield rest.split(".")[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_imports_point_down(path):
    home = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if home.startswith("__"):
        return  # the package's own face may import anything
    for part in set(imported_parts(path.read_text())) - {home}:
        assert RANKS[part] < RANKS[home], f"{home} may not import {part}"
