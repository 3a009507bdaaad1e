"""Tests of the lookup that all registries share."""

import pytest

from egnas_jax.lookup import lookup

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
