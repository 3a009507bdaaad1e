"""Makes a primitive of a Flax module.

Dims: C channels, H, W sides, N images.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from egnas_jax.nn.precision import wide
from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_check import SIDE
from egnas_jax.types import Array, Key, PyTree

COLLECTIONS = ("params", "batch_stats")
DEFAULT = "params"  # the stream that Flax reads where one has no key of its own
KEYWORDS = {"channels": 16, "stride": 1}  # that the module class is called with


def primitive_from_linen(
    name: str,
    module_class: Callable[..., Any],
    *,
    family: str = "other",
    draws: bool = False,
) -> Primitive:
    """The primitive that a `flax.linen` module computes.

    Args:
      name: of the primitive.
      module_class: makes a module from the keywords `channels` and `stride`. Its
        `__call__(x, train)` takes x [N, H, W, C] and returns [N, H / stride, W /
        stride, C]. It may have the collections "params" and "batch_stats". It is given
        x in float32, the dtype of its parameters; what it returns is rounded to the
        dtype of the state.
      family: see `Primitive`.
      draws: see `Primitive`: whether it draws random numbers after its
        initialisation, as `Dropout` does. Every stream of the module has the key.

    Raises:
      ValueError: `module_class` cannot be called with the two keywords alone.
    """
    _check_keywords(name, module_class)

    def init(key: Key, channels: int, stride: int) -> tuple[PyTree, PyTree]:
        module = module_class(channels=channels, stride=stride)
        x = jnp.zeros((1, SIDE, SIDE, channels), jnp.float32)
        variables = module.init(key, x, train=False)
        others = sorted(set(variables) - set(COLLECTIONS))
        if others:
            raise ValueError(
                f"the module has variables in {', '.join(others)}, but a primitive may "
                f"have {' and '.join(COLLECTIONS)} only"
            )
        return tuple(variables.get(collection, {}) for collection in COLLECTIONS)

    def apply(
        params: PyTree,
        batch_stats: PyTree,
        x: Array,
        stride: int,
        train: bool,
        *,
        key: Key | None = None,
    ) -> tuple[Array, PyTree]:
        module = module_class(channels=x.shape[-1], stride=stride)
        variables = {"params": params, "batch_stats": batch_stats}
        options = {"train": train, "rngs": None if key is None else {DEFAULT: key}}
        if not train:
            return module.apply(variables, wide(x), **options).astype(x.dtype), {}
        y, updates = module.apply(
            variables, wide(x), mutable=["batch_stats"], **options
        )
        return y.astype(x.dtype), updates.get("batch_stats", {})

    # Messages name the line of the module's own code.
    if isinstance(module_class, type):
        init.__wrapped__ = apply.__wrapped__ = module_class.__call__
    return Primitive(name, init, apply, family, draws=draws)


def _check_keywords(name, module_class):
    """Refuses what makes no module from the keywords alone, naming what is missing."""
    allowed = (
        "Give a class of flax.linen.Module with the fields channels and stride, whose "
        "other fields have defaults."
    )
    if not callable(module_class):
        raise ValueError(
            f"The primitive {name}: the module class is {module_class!r}. {allowed}"
        )
    try:
        signature = inspect.signature(module_class)
    except ValueError:  # of code that is not written in Python
        return
    try:
        signature.bind(**KEYWORDS)
    except TypeError:  # says one name at a time
        parameters = signature.parameters.values()
    else:
        return
    names = [parameter.name for parameter in parameters]
    missing = [keyword for keyword in KEYWORDS if keyword not in names]
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name not in KEYWORDS
    ]
    problem = f"lacks {' and '.join(missing)}" if missing else "has fields of its own"
    problem += f" and needs {', '.join(needed)}" if needed else ""
    shown = getattr(module_class, "__name__", repr(module_class))
    raise ValueError(f"The primitive {name}: {shown} {problem}. {allowed}")
