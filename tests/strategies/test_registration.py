"""What can be registered as a search method, and what is refused."""

import dataclasses
import functools
import typing

import pytest

import egnas_jax as eg
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.registration import register_strategy


@pytest.fixture(autouse=True)
def table():
    before = STRATEGIES.snapshot()
    yield
    STRATEGIES.restore(before)


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 3
    rate: float | None = None
    rule: str = "best"
    warm: bool = False

    valid_batch_size: typing.ClassVar[int] = 1
    warmup: typing.ClassVar[int] = 0

    @property
    def individuals(self):
        return self.size


def make(net, config):
    return eg.Strategy("epoch", make, make, make, make, ())


def test_a_registered_method_is_known_by_its_name():
    register_strategy("mine", Config, make)
    settings = {"strategy.size": "5", "strategy.rate": 2, "strategy.warm": "true"}
    config = eg.search_config(strategy="mine", settings=settings)
    assert config.strategy == Config(size=5, rate=2.0, warm=True)
    with pytest.raises(ValueError, match="Did you mean strategy.size"):
        eg.search_config(strategy="mine", settings={"strategy.sise": 5})
    assert STRATEGIES["mine"][1](None, Config()).init is make


def test_types_of_fields_may_be_text():
    """As all of a module are under `from __future__ import annotations`."""
    register_strategy("mine", of_type("float | None"), make)
    for value in ("0.5", "none"):
        eg.search_config(strategy="mine", settings={"strategy.field": value})
    with pytest.raises(ValueError, match="strategy.field takes a number, got 'fast'"):
        eg.search_config(strategy="mine", settings={"strategy.field": "fast"})


def changed(**fields):
    """The configuration with other attributes, not checked by `dataclasses`."""
    return dataclasses.dataclass(frozen=True)(type("Other", (Config,), fields))


@dataclasses.dataclass
class Mutable:
    size: int = 3


@dataclasses.dataclass(frozen=True)
class Bare:
    size: int = 3


@dataclasses.dataclass(frozen=True)
class Required:
    size: int


class Plain:
    pass


def of_type(kind):
    return dataclasses.make_dataclass(
        "Typed", [("field", kind, None)], bases=(Config,), frozen=True
    )


CLASSES = {
    "is no dataclass": Plain,
    "<object": object(),
    "is not frozen": Mutable,
    "has no valid_batch_size, warmup, individuals": Bare,
    "has the field size without a default": Required,
    "has the field field of type 'tuple'": of_type(tuple),
    "has a type that is not known (name 'Unknown' is not defined)": of_type("Unknown"),
    "has the field field": of_type(int | str),
}


@pytest.mark.parametrize("words", CLASSES)
def test_a_configuration_that_settings_cannot_reach_is_refused(words):
    with pytest.raises(ValueError) as error:
        register_strategy("mine", CLASSES[words], make)
    assert words in str(error.value) and "'mine'" in str(error.value)
    assert "dataclass(frozen=True)" in str(error.value)
    assert "mine" not in STRATEGIES


@pytest.mark.parametrize(
    "function, words",
    [
        (3, "no function"),
        (lambda: 3, "which takes ()"),
        (lambda net: 3, "which takes (net)"),
        (lambda net, config, third: 3, "which takes (net, config, third)"),
        (lambda net, *, config: 3, "which takes (net, *, config)"),
    ],
)
def test_a_function_with_another_signature_is_refused(function, words):
    with pytest.raises(ValueError) as error:
        register_strategy("mine", Config, function)
    assert words in str(error.value) and "(net, config)" in str(error.value)
    if callable(function):
        assert "test_registration.py:" in str(error.value)
    assert "mine" not in STRATEGIES


@pytest.mark.parametrize(
    "name", ["", "two words", "3d", None, "a/b", "data", "run", "é"]
)
def test_a_name_that_cannot_be_one_is_refused(name):
    with pytest.raises(ValueError, match="cannot be the name of a strategy"):
        register_strategy(name, Config, make)


def test_a_taken_name_is_refused_with_its_owner():
    with pytest.raises(ValueError, match="'egnas' is defined already, by egnas_jax it"):
        register_strategy("egnas", Config, make)
    register_strategy("mine", Config, functools.partial(make))
    line = make.__code__.co_firstlineno
    with pytest.raises(ValueError, match=f"'mine' .*test_registration.py:{line}"):
        register_strategy("mine", Config, make)


def test_what_makes_no_strategy_is_named():
    register_strategy("mine", Config, lambda net, config: 3)
    words = r"test_registration.py:\d+ makes the strategy 'mine', but returned int"
    with pytest.raises(ValueError, match=words):
        STRATEGIES["mine"][1](None, Config())
