"""Walks traced programs, and the programs that they call."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np


def programs_in(params: Mapping[str, Any]) -> Iterator[Any]:
    """Yields the programs that an equation calls: each a `Jaxpr` or a closed one.

    Args:
      params: parameters of the equation.
    """
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(one, "jaxpr", one), "eqns"):
                yield one


def contents(program: Any) -> Iterator[str | bytes]:
    """Yields what a program does: names of operations, plain settings, constants.

    Two traces of a pure function have the same contents. Functions and other objects
    among the settings are left out, because their texts hold addresses.

    Args:
      program: a `Jaxpr` or a closed one.
    """
    yield from map(_content, getattr(program, "consts", ()))
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation.primitive.name
        literals = (v.val for v in equation.invars if hasattr(v, "val"))
        yield from map(_content, literals)
        settings = equation.params.items()
        yield from (f"{name}={value!r}" for name, value in settings if _is_plain(value))
        for inner in programs_in(equation.params):
            yield from contents(inner)


def _content(constant) -> bytes:
    if jax.dtypes.issubdtype(getattr(constant, "dtype", None), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    return np.asarray(constant).tobytes()


def _is_plain(value) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
