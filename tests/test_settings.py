"""Settings by dotted paths: Python values and text."""

import dataclasses
import pathlib

import numpy as np
import pytest

from egnas_jax.settings import apply_overrides, apply_settings


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = 1
    rate: float = 1.0
    path: str | None = None
    flag: bool = False


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    seed: int = 0


@pytest.mark.parametrize(
    "settings",
    [
        {"inner.count": 4, "inner.rate": 3, "inner.path": "a.npz", "inner.flag": True},
        {
            "inner.count": np.int64(4),
            "inner.rate": np.float32(3),
            "inner.path": pathlib.Path("a.npz"),
            "inner.flag": "True",
        },
    ],
)
def test_values_and_their_text_set_the_same(settings):
    text = ["inner.count=4", "inner.rate=3", "inner.path=a.npz", "inner.flag=true"]
    expected = Outer(Inner(4, 3.0, "a.npz", True))
    assert apply_settings(Outer(), settings) == expected
    assert apply_overrides(Outer(), text) == expected
    assert type(apply_settings(Outer(), settings).inner.rate) is float
    assert apply_settings(expected, {"inner.path": None}).inner.path is None


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("inner.count", 2.0, "inner.count takes a whole number, got 2.0"),
        ("inner.count", True, "inner.count takes a whole number, got True"),
        ("inner.count", None, "inner.count takes a whole number, got None"),
        ("inner.count", 2**40, "must be within"),
        ("inner.count", "\u0663", "inner.count takes a whole number, got '\u0663'"),
        ("inner.rate", "\u0663.5", "inner.rate takes a number"),
        ("inner.rate", "fast", "inner.rate takes a number, got 'fast'"),
        ("inner.flag", 1, "inner.flag takes true or false, got 1"),
        ("inner.path", 3, "inner.path takes text, got 3"),
        ("inner.cuont", 3, "Unknown path 'inner.cuont'. Did you mean inner.count"),
        ("inner", 3, "Unknown path 'inner'"),
    ],
)
def test_a_wrong_path_or_type_is_refused(path, value, message):
    with pytest.raises(ValueError, match=message):
        apply_settings(Outer(), {path: value})


def test_an_entry_without_a_value_is_refused():
    with pytest.raises(ValueError, match="--set takes PATH=VALUE, got 'seed'"):
        apply_overrides(Outer(), ["seed"])
