"""In which precision a network computes.

The activations have the dtype of the images that go in. In bfloat16 they take half the
memory and half the time to read and write, which bounds these networks on a GPU; but
eight bits are too few to add up in. So whatever the activations are, parameters,
statistics, sums over taps, channels, pixels, primitives and edges, the classifier and
the loss are float32, and only what is stored as an array of pixels is rounded. The
casts stand where sums are: in `nn.lowering`, in `nn.layers` (`Affine`, `moments`) and
where a cell adds up its edges.
"""

import jax.numpy as jnp

from egnas_jax.types import Array

PRECISIONS = ("float32", "bfloat16")


def check_precision(what: str, value: str) -> None:
    """Refuses a precision that is not one of `PRECISIONS`.

    Args:
      what: path of the setting.
      value: its value.

    Raises:
      ValueError: as said.
    """
    if value not in PRECISIONS:
        raise ValueError(
            f"{what} is {value!r}, but must be one of {', '.join(PRECISIONS)}."
        )


def sum_dtype(x: Array) -> jnp.dtype:
    """What numbers like those of `x` are added up in: float32 at least."""
    return jnp.dtype(jnp.float32) if x.dtype == jnp.bfloat16 else x.dtype


def wide(x: Array) -> Array:
    """`x` in the dtype of sums."""
    return x.astype(sum_dtype(x))


def wide_einsum(subscripts: str, a: Array, b: Array) -> Array:
    """Products as they are, summed and returned in the dtype of sums."""
    return jnp.einsum(subscripts, a, b, preferred_element_type=sum_dtype(a))
