"""Which options a program is compiled with, and that an unknown one is left out."""

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.lowering import options

QUICK = options._QUICK


@pytest.fixture
def asked_anew():
    """What XLA knows is asked once a process."""
    options._quick.cache_clear()
    yield
    options._quick.cache_clear()


def test_only_tiny_images_are_compiled_with_less_optimisation():
    usual = lowering.compiler_options()
    assert lowering.compiler_options((8, 12)) == usual
    # jax 0.11 has lost the older emitters, and keeps the level of LLVM
    assert usual.items() < lowering.compiler_options((8, 8)).items()
    assert lowering.compiler_options((8, 8)).items() <= (usual | QUICK).items()
    assert lowering.compiler_options((8, 8))["xla_backend_optimization_level"] == 1
    program = jax.jit(jnp.sin, compiler_options=lowering.compiler_options((8, 8)))
    assert program(0.0) == 0.0


@pytest.mark.usefixtures("asked_anew")
def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    known = lowering.compiler_options((8, 8))
    options._quick.cache_clear()
    monkeypatch.setattr(options, "_QUICK", QUICK | {"xla_no_such_option": 1})
    assert lowering.compiler_options((8, 8)) == known


@pytest.mark.usefixtures("asked_anew")
def test_a_guard_of_transfers_does_not_change_the_options():
    known = lowering.compiler_options((8, 8))
    options._quick.cache_clear()
    with jax.transfer_guard("disallow"):
        assert lowering.compiler_options((8, 8)) == known


@pytest.mark.parametrize("shape", [None, (8, 8), (32, 32)])
def test_a_gpu_leaves_the_pass_out_whose_kernels_have_too_many_tilings(
    monkeypatch, shape
):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    left_out = {"xla_disable_hlo_passes": "triton-softmax-rewriter"}
    assert lowering.compiler_options(shape) == left_out


def test_other_backends_have_no_options(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert lowering.compiler_options((8, 8)) == {}
