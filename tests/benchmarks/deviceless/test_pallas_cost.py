"""What a Pallas kernel computes and moves is what a person counts."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from benchmarks.deviceless.cards import CARDS
from benchmarks.deviceless.compile import Compiled
from benchmarks.deviceless.costs import Cost
from benchmarks.deviceless.pallas_cost import pallas_kernels
from benchmarks.deviceless.predict import prediction
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.roofline import rates_of

BLOCK, TAPS, PROGRAMS, WARPS = 64, 3, 2, 2


def _correlate(pixels, weights, out):
    place = pl.program_id(0) * BLOCK + jnp.arange(BLOCK)

    def add_tap(tap, total):
        loaded = triton.load(pixels.at[place + tap]).astype(jnp.float32)
        return total + weights[tap] * loaded

    total = lax.fori_loop(0, TAPS, add_tap, jnp.zeros(BLOCK, jnp.float32))
    triton.store(out.at[place], total.astype(jnp.bfloat16))


def five_times(pixels, weights):
    """Runs the kernel in each turn of a loop."""
    call = pl.pallas_call(
        _correlate,
        out_shape=jax.ShapeDtypeStruct((PROGRAMS * BLOCK,), jnp.bfloat16),
        grid=(PROGRAMS,),
        compiler_params=triton.CompilerParams(num_warps=WARPS),
        name="correlate",
    )
    return lax.scan(lambda _, x: (None, call(pixels, weights)), None, length=5)[1]


@pytest.fixture
def kernels():
    pixels = jax.ShapeDtypeStruct((PROGRAMS * BLOCK + TAPS - 1,), jnp.bfloat16)
    weights = jax.ShapeDtypeStruct((TAPS,), jnp.float32)
    return pallas_kernels(jax.make_jaxpr(five_times)(pixels, weights))


def test_a_kernel_is_counted_by_hand(kernels):
    (kernel,) = kernels
    assert (kernel.name, kernel.kind, kernel.launches) == ("correlate", "pallas", 5)
    # a tap: pixels of two bytes, and a weight that both warps load; then the output
    l1_bytes = TAPS * (2 * BLOCK + WARPS * 128) + 2 * BLOCK
    # a tap: a conversion, a product, a sum; then a conversion
    operations = TAPS * 3 * BLOCK + BLOCK
    assert kernel.cost == Cost(
        bytes=2 * (PROGRAMS * BLOCK + TAPS - 1) + 4 * TAPS + 2 * PROGRAMS * BLOCK,
        l1_bytes=PROGRAMS * l1_bytes,
        operations=PROGRAMS * operations,
    )


def test_a_prediction_takes_them_instead_of_the_calls_in_the_program(kernels):
    text = """\
HloModule jit_f

ENTRY %main (p: bf16[130]) -> bf16[128] {
  %p = bf16[130]{0} parameter(0)
  ROOT %c = bf16[128]{0} custom-call(%p), custom_call_target="__gpu$xla.gpu.triton"
}
"""
    compiled = Compiled(
        text=text,
        trace_s=0.0,
        compile_s=0.0,
        temporary_bytes=0,
        reserved_bytes=0,
        pallas=kernels,
    )
    request = Request(
        function=None, arguments=(), images=1, bytes=None, multiply_adds=None
    )
    row = prediction(compiled, request, rates_of(CARDS["h100"]), "bfloat16")
    assert list(row["kinds"]) == ["pallas"]
    assert row["launches"] == 5
    assert row["operations"] == 5 * kernels[0].cost.operations
