"""Imports point one way, and CONTRIBUTING.md says which."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "egnas_jax"
ORDER = [
    {"types", "lookup", "idle", "settings", "plotting"},
    {"space", "data", "evolution", "storage", "controller"},
    {"nn"},
    {"training", "interop"},
    {"search", "retrain", "export", "proxies"},
    {"strategies"},
    {"runs"},
    {"studies"},
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


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_down(path):
    home = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if home.startswith("__"):
        return  # the package's own face may import anything
    for part in set(imported_parts(path.read_text())) - {home}:
        assert RANKS[part] < RANKS[home], f"{home} may not import {part}"


def test_contributing_states_the_same_order():
    ranks = [", ".join(sorted(parts)) for parts in ORDER]
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert " < ".join(ranks) in text


def test_few_modules_stand_outside_the_folders():
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= 5, loose
