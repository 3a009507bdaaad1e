"""Decides which arrays of a network are bfloat16 and which stay float32.

The activations have the dtype of the images that enter the network. In bfloat16 they
take half the memory and half the memory traffic, which is what bounds these networks on
a GPU. Eight bits are too few to accumulate sums. Parameters, batch_stats, the
classifier, the loss and all sums (over taps, channels, pixels, primitives and edges)
therefore stay float32, and only arrays of pixels that are stored are rounded. The casts
are where the sums are: in `nn.lowering`, in `nn.layers` (`Affine`, `moments`) and where
a cell adds up its edges.
"""

import jax.numpy as jnp

from egnas_jax.types import Array

PRECISIONS = ("float32", "bfloat16")


def check_precision(what: str, value: str) -> None:
    """Refuses a value that is not one of `PRECISIONS`.

    Args:
      what: path of the setting, for the message.
      value: its value.

    Raises:
      ValueError: the value is not one of `PRECISIONS`.
    """
    if value not in PRECISIONS:
        raise ValueError(
            f"{what} is {value!r}, but must be one of {', '.join(PRECISIONS)}."
        )


def sum_dtype(x: Array) -> jnp.dtype:
    """The dtype in which values of `x` are summed: float32 at least."""
    return jnp.dtype(jnp.float32) if x.dtype == jnp.bfloat16 else x.dtype


def wide(x: Array) -> Array:
    """`x` in the dtype of sums."""
    return x.astype(sum_dtype(x))


def wide_einsum(subscripts: str, a: Array, b: Array) -> Array:
    """An einsum that accumulates and returns its sums in the dtype of sums."""
    return jnp.einsum(subscripts, a, b, preferred_element_type=sum_dtype(a))
