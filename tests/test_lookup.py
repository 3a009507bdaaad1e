"""Tests of the lookup that all registries share."""

import functools
import pathlib

import pytest

from egnas_jax.lookup import (
    LazyTable,
    check_known,
    defined_at,
    listed,
    lookup,
    named_at,
)

TABLE = {"digits": 1, "cifar10": 2, "cifar100": 3}


def test_a_known_name_gives_its_entry():
    assert lookup(TABLE, "cifar10", "preset") == 2


def test_an_unknown_name_lists_close_matches_and_all_names():
    with pytest.raises(ValueError) as error:
        lookup(TABLE, "cifar", "preset")
    message = str(error.value)
    assert "Unknown preset 'cifar'" in message
    assert "Did you mean" in message
    assert all(name in message for name in TABLE)


@pytest.mark.parametrize("name", [None, 3, ["digits"], "zzz"])
def test_the_error_lists_all_names_even_without_a_close_match(name):
    with pytest.raises(ValueError, match="Known: cifar10, cifar100, digits"):
        lookup(TABLE, name, "preset")


def test_a_lazy_table_imports_an_entry_at_its_first_use():
    loaded = []

    def load(name):
        loaded.append(name)
        return name.upper()

    table = LazyTable({name: lambda name=name: load(name) for name in ("a", "b")})
    assert list(table) == ["a", "b"]
    assert len(table) == 2
    assert "a" in table and "c" not in table
    check_known(table, "b", "letter")
    assert not loaded
    assert lookup(table, "b", "letter") == table["b"] == "B"
    assert loaded == ["b"]


def test_a_message_lists_the_first_five_names():
    assert listed(range(5)) == "0, 1, 2, 3, 4"
    assert listed(range(6)) == "0, 1, 2, 3, 4, ..."


def test_a_lazy_table_takes_entries_of_ones_own():
    table = LazyTable({"a": lambda: 1})
    table["mine"] = 2
    table["a"] = 3
    assert dict(table) == {"a": 3, "mine": 2}
    del table["a"]
    assert dict(table) == {"mine": 2}
    with pytest.raises(KeyError):
        table["a"]


def test_a_lazy_table_knows_its_first_entries_from_others():
    table = LazyTable({"a": lambda: object(), "b": lambda: object()})
    assert table.is_original("a") and not table.is_original("mine")
    first = table["a"]
    table["a"] = object()
    assert not table.is_original("a")
    table["a"] = first  # as a test does that had replaced it
    assert table.is_original("a")
    table["b"] = object()  # never imported
    assert not table.is_original("b")
    snapshot = table.snapshot()
    table["b"] = object()
    table.restore(snapshot)
    assert table["b"] and not table.is_original("b")


def test_a_lazy_table_goes_back_to_a_snapshot():
    table = LazyTable({"a": lambda: 1})
    table["mine"] = 2
    snapshot = table.snapshot()
    table["a"], table["other"] = 3, 4
    table.restore(snapshot)
    assert dict(table) == {"a": 1, "mine": 2}
    assert table.is_original("a") and not table.is_original("mine")


def test_the_place_of_a_function_or_a_class_is_its_file_and_line():
    here = pathlib.Path(__file__).read_text().splitlines()

    class Mine:
        pass

    for value, text in (
        (lookup, None),
        (Mine, "    class Mine:"),
        (functools.partial(test_a_lazy_table_goes_back_to_a_snapshot), "def test_a_"),
    ):
        file, _, line = defined_at(value).rpartition(":")
        if text is None:
            assert file.endswith("lookup.py")
        else:
            assert file == __file__ and here[int(line) - 1].startswith(text)
    assert defined_at(3) == "int"


def rule(space):
    return space


class Rule:
    def __call__(self, space):
        return space


def test_a_function_is_named_with_its_file_and_line():
    first = rule.__code__.co_firstlineno
    named = f"rule ({__file__}:{first})"
    assert named_at(rule) == named_at(functools.partial(rule, 1)) == named
    assert named_at(functools.wraps(rule)(lambda: None)) == named
    assert named_at(Rule()) == f"Rule ({__file__}:{first + 5})"
