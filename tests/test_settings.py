"""Settings by dotted paths: Python values and text."""

import dataclasses
import pathlib

import numpy as np
import pytest

from egnas_jax.settings import (
    apply_overrides,
    apply_settings,
    as_dict,
    check_field_types,
    check_ranges,
    check_types,
    check_whole,
)


@dataclasses.dataclass(frozen=True)
class Inner:
    count: int = 1
    rate: float = 1.0
    path: str | None = None
    flag: bool = False
    bound: float | None = None
    most: int | None = None
    batches: int | str = 1


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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 2.5, "inner.count is 2.5, but must be a whole number from 1 to 9"),
        ("count", np.float32(2), "inner.count is .*2.0.*, but must be a whole number"),
        ("count", True, "inner.count is True, but must be a whole number"),
        ("count", None, "inner.count is None, but must be a whole number"),
        ("count", 10, "inner.count is 10, but must be from 1 to 9"),
        ("most", 2.5, "inner.most is 2.5, but must be a whole number from 1 to 9"),
        ("batches", 2.5, "inner.batches is 2.5, but must be a whole number"),
        ("rate", "1", "inner.rate is '1', but must be a number from 1 to 9"),
        ("rate", True, "inner.rate is True, but must be a number"),
        ("bound", float("nan"), "inner.bound is nan, but must be from 1 to 9"),
    ],
)
def test_a_number_of_another_type_or_out_of_its_range_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_ranges(Inner(**{name: value}), {name: (1, 9)}, "inner.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("count", np.int64(3)), ("most", None), ("most", 3), ("batches", 3)],
        *[("rate", 3), ("rate", np.float32(3)), ("bound", None), ("bound", 3)],
    ],
)
def test_numbers_of_numpy_and_whole_numbers_for_floats_are_in_range(name, value):
    config = Inner(**{name: value})
    check_ranges(config, {name: (1, 9)})
    check_field_types(config)


def test_types_that_are_written_as_text_are_checked_as_the_others():
    fields = [("count", "int", 1), ("most", "int | None", None)]
    make = dataclasses.make_dataclass("Text", fields, frozen=True)
    ranges = {"count": (1, 9), "most": (1, 9)}
    check_ranges(make(), ranges)
    with pytest.raises(ValueError, match="count is 2.5, but must be a whole number"):
        check_ranges(make(count=2.5), ranges)
    with pytest.raises(ValueError, match="most is 2.5, but must be a whole number or"):
        check_field_types(make(most=2.5))
    assert apply_settings(make(), {"count": "3"}).count == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("flag", "false", "inner.flag is 'false', but must be true or false"),
        ("flag", 0, "inner.flag is 0, but must be true or false"),
        ("path", 3, "inner.path is 3, but must be text or none"),
        ("count", 2.0, "inner.count is 2.0, but must be a whole number"),
        ("most", False, "inner.most is False, but must be a whole number or none"),
        ("batches", 2.5, "inner.batches is 2.5, but must be a whole number or text"),
        ("rate", None, "inner.rate is None, but must be a number"),
    ],
)
def test_a_value_of_another_type_than_its_field_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_field_types(Inner(**{name: value}), "inner.")


def test_a_stored_number_may_be_whole_wherever_a_float_may_be():
    config = Outer(Inner(rate=3, bound=4))
    check_types(config, as_dict(config))
    for wrong in ({"bound": "4"}, {"bound": True}, {"count": 1.0}, {"most": 2.0}):
        with pytest.raises(TypeError, match=f"inner.{next(iter(wrong))} is"):
            check_types(Outer(), {"inner": wrong})


@pytest.mark.parametrize("value", [2.5, 2.0, float("nan"), True, "2", None, 1])
def test_a_count_that_is_no_whole_number_or_too_small_is_refused(value):
    with pytest.raises(ValueError, match="n is .*, but must be a whole number from 2."):
        check_whole("n", value, 2)
    check_whole("n", np.int32(2), 2)
