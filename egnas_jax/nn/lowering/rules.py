"""States, backend by backend, how the operations are computed that have no choices.

`supernet.lowering` selects an implementation of the windows (nn/kernels.py). The rules
here hold under every implementation: which arrays are stored, how sums are split into
kernels, and what stands for a small matrix product. They change the speed, not the
result.

Every operation of this package that has a rule takes `rules`; by default they are those
of the default backend. `assume_backend` selects those of another one for a whole
network.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

import jax


class Rules(NamedTuple):
    """How a backend computes what every implementation shares.

    Attributes:
      matrix_convolutions: whether a full convolution is a matrix product over stacked
        windows instead of XLA's convolution.
      summed_channels: a 1x1 convolution of at most this many channels, in and out, is
        a sum over its channels instead of a matrix product. A sum fuses with its
        neighbours, and needs no other order of the axes.
      joint_products: whether the matrix products of a population's 1x1 convolutions
        are one product of all individuals. It reorders the axes of its operand and of
        its result; a product for each individual reorders none.
      stored_padding: whether padded images are stored before windows read them.
      looped_gradients: whether the gradients of a depthwise convolution loop over rows
        and edges. A loop suits a CPU's caches; on other backends each turn launches
        kernels. Without loops, `keep_apart` separates the gradients of one state.
      one_pass_moments: whether the variance is computed in the pass of the mean.
      looped_cells: whether equal cells that follow one another train as a loop. It
        saves compilation, but its gradient copies what it keeps of each cell, array by
        array.
      joint_clipping: whether gradients are clipped as one vector. A norm leaf by leaf
        takes a kernel for each leaf, and some leaves another for the order of their
        axes.
    """

    matrix_convolutions: bool
    summed_channels: int
    joint_products: bool
    stored_padding: bool
    looped_gradients: bool
    one_pass_moments: bool
    looped_cells: bool
    joint_clipping: bool


# cpu: measured (benchmarks/README.md).
# gpu: NOT measured. Compiled for an H100 without one; benchmarks/README.md lists the
#   kernels and bytes with and without each rule.
# tpu: NOT measured. Its loops need no launches, but a loop of small products leaves
#   its matrix unit idle.
RULES = {
    "cpu": Rules(
        matrix_convolutions=True,
        summed_channels=0,
        joint_products=True,
        stored_padding=True,
        looped_gradients=True,
        one_pass_moments=False,
        looped_cells=True,
        joint_clipping=False,
    ),
    "gpu": Rules(
        matrix_convolutions=False,
        summed_channels=16,
        joint_products=False,
        stored_padding=False,
        looped_gradients=False,
        one_pass_moments=True,
        looped_cells=False,
        joint_clipping=True,
    ),
    "tpu": Rules(
        matrix_convolutions=False,
        summed_channels=0,
        joint_products=True,
        stored_padding=True,
        looped_gradients=False,
        one_pass_moments=False,
        looped_cells=True,
        joint_clipping=False,
    ),
}

_products = contextvars.ContextVar("convolutions are matrix products", default=False)
_assumed = contextvars.ContextVar("assumed backend", default=None)


def target_backend() -> str:
    """JAX's name of the backend that programs are built for."""
    return _assumed.get() or jax.default_backend()


@contextlib.contextmanager
def assume_backend(name: str) -> Iterator[None]:
    """Builds the programs that are traced inside as for another backend.

    They run on the present backend all the same, and give the same results, only
    slower. A function of `jax.jit` that was traced before keeps its program.

    Args:
      name: JAX's name of the backend, such as "gpu".
    """
    token = _assumed.set(name)
    try:
        yield
    finally:
        _assumed.reset(token)


@contextlib.contextmanager
def matrix_convolutions() -> Iterator[None]:
    """Computes full convolutions as matrix products in the programs traced inside.

    `jax.vmap` over kernels makes a convolution a grouped one, which backends run
    slowly, but a matrix product a batch of such products.
    """
    token = _products.set(True)
    try:
        yield
    finally:
        _products.reset(token)


def rules_for() -> Rules:
    """The rules of `target_backend()`; one that has none gets those of the GPU."""
    rules = RULES.get(target_backend(), RULES["gpu"])
    return rules._replace(matrix_convolutions=True) if _products.get() else rules
