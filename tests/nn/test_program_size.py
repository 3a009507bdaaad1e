"""The size of the full-size programs, where a clock cannot be trusted.

Compile time follows it: about 0.5 s per 1,000 lines on two cores. Nothing is compiled
here. A bound is a tenth above what was counted; raise it only for a reason (the last
one: the first pair of cells is no loop in training, +5 % for steps a fifth faster).
"""

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import softmax_mixing

NET = make_supernet(SupernetConfig())
VARIABLES = jax.eval_shape(lambda: NET.init(jax.random.key(0)))
IMAGES = jax.ShapeDtypeStruct((16, 32, 32, 3), jnp.float32)
ALPHA = {k: jax.ShapeDtypeStruct((14, 7), jnp.float32) for k in ("normal", "reduce")}


def forward(variables, images, alpha, train=False):
    return NET.apply(variables, images, softmax_mixing(alpha), train=train)[0]


def gradient(variables, images, alpha):
    def loss(params):
        return forward(variables | {"params": params}, images, alpha, True).sum()

    return jax.grad(loss)(variables["params"])


@pytest.mark.parametrize("program, most", [(forward, 18_700), (gradient, 62_000)])
def test_the_program_does_not_grow(program, most):
    lowered = jax.jit(program, compiler_options=lowering.compiler_options()).lower(
        VARIABLES, IMAGES, ALPHA
    )
    text = lowered.as_text()
    assert text.count("\n") < most
    # in a loop XLA's would be 10 to 80 times too slow on a CPU, grouped ones more so
    assert "stablehlo.convolution" not in text
