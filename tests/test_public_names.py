"""`import egnas_jax` offers the same names to people, to type checkers and to dir()."""

import ast
import pathlib

import pytest

import egnas_jax


def type_checked_names():
    """The names that the package imports for type checkers alone."""
    tree = ast.parse(pathlib.Path(egnas_jax.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: statement.module
        for statement in block.body
        for alias in statement.names
    }


def test_every_public_name_is_what_type_checkers_see():
    modules = type_checked_names()
    assert sorted(modules) == sorted(egnas_jax.__all__)
    assert modules == egnas_jax._MODULE_OF


@pytest.mark.parametrize("name", egnas_jax.__all__)
def test_every_public_name_can_be_used(name):
    value = getattr(egnas_jax, name)
    assert value is getattr(egnas_jax, name)
    assert name in dir(egnas_jax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        egnas_jax.serach  # noqa: B018
