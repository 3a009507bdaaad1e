"""Tests of the lookup that all registries share."""

import pytest

from egnas_jax.lookup import LazyTable, check_known, lookup

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


def test_a_lazy_table_takes_entries_of_ones_own():
    table = LazyTable({"a": lambda: 1})
    table["mine"] = 2
    table["a"] = 3
    assert dict(table) == {"a": 3, "mine": 2}
    del table["a"]
    assert dict(table) == {"mine": 2}
    with pytest.raises(KeyError):
        table["a"]
