"""Refuses primitives of a user's own that are no functions of one image at a time.

Networks are traced once and run often, and share the images of a batch among devices
and chunks. So a primitive must give the same program whenever it is traced, and its
output for one image must not depend on the other images. (In training with batch_stats
it may: norms need the whole batch, and are given it.)

Dims: C channels.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.primitive import Primitive
from egnas_jax.nn.primitive_check import (
    IMAGES,
    SIDE,
    STRIDES,
    OneEdge,
    described,
    refuse_primitive,
    run,
)
from egnas_jax.nn.traced import contents
from egnas_jax.types import IMPL

TOLERANCE = 1e-4  # of the largest output: a GPU may add up in another order each time


@functools.lru_cache(maxsize=1024)
def check_purity(primitive: Primitive, channels: int) -> None:
    """Refuses a primitive that draws unseen numbers or mixes the images of a batch.

    It is traced twice in each mode, and run once on tiny images, with stride 1.

    Args:
      primitive: a primitive with functions of a user's own that `check_primitive` has
        passed; others pass.
      channels: C.

    Raises:
      ValueError: two traces differ, or the output for an image changes with another
        image. The message names the function's file and line.
    """
    if primitive.kernel is not None:
        return
    _check_traces(primitive, channels)
    for train in (False, True):
        if not (train and jax.tree.leaves(described(primitive, channels, 1)[1])):
            _check_images(primitive, channels, train)


def _check_traces(primitive, channels):
    x = jax.ShapeDtypeStruct((IMAGES, SIDE, SIDE, channels), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0, impl=IMPL))
    cases = [
        (primitive.init, OneEdge(primitive.init, channels, stride), (key,))
        for stride in STRIDES
    ]
    for stride, train in itertools.product(STRIDES, (False, True)):
        apply = functools.partial(run, primitive, stride=stride, train=train)
        shapes = described(primitive, channels, stride)
        cases.append((primitive.apply, apply, (*shapes, x)))
    for function, call, arguments in cases:
        if _traced(call, arguments) != _traced(call, arguments):
            name = "init" if function is primitive.init else "apply"
            refuse_primitive(
                primitive,
                function,
                f"two traces of {name} give different programs. A network is traced "
                f"once, so numbers of numpy.random, random or a clock would stay as "
                f"they were then. Draw by the key: init has one, and apply has one "
                f"with eg.Primitive(..., draws=True)",
            )


def _traced(function, arguments) -> list:
    # a function of its own, because traces of the same function are remembered
    return list(contents(jax.make_jaxpr(lambda *args: function(*args))(*arguments)))


def _check_images(primitive, channels, train):
    """Compares the output for an image beside two different other images."""
    images = np.random.default_rng(0).normal(size=(3, SIDE, SIDE, channels))
    images = images.astype(np.float32)
    variables = _variables(primitive, channels)
    apply = jax.jit(functools.partial(run, primitive, stride=1, train=train))
    # compiled ahead of the call, which works also while a caller's function is traced
    compiled = apply.lower(*variables, images[:2]).compile()
    first, second = (
        np.asarray(compiled(*variables, images[[0, other]])[0])[0] for other in (1, 2)
    )
    largest = np.nanmax(np.abs(first), initial=1.0)
    if np.allclose(first, second, rtol=0, atol=TOLERANCE * largest, equal_nan=True):
        return
    refuse_primitive(
        primitive,
        primitive.apply,
        f"apply(train={train}) mixes the images of a batch: its output for one image "
        f"changes with another image. Devices and chunks share a batch, so treat each "
        f"image by itself, and take means over height and width alone (axes 1 and 2). "
        f"Statistics of a batch are for train=True with batch_stats, as in batch norm",
    )


def _variables(primitive, channels):
    """Random parameters, and ones as statistics, which are variances too.

    `init` would have to be compiled, and some initial parameters hide a path by zeros.
    """
    params, stats = described(primitive, channels, 1)
    numbers = np.random.default_rng(1)

    def drawn(leaf):
        return 0.3 * numbers.normal(size=leaf.shape).astype(leaf.dtype)

    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), stats)
    return jax.tree.map(drawn, params), ones
