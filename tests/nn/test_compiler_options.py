"""Which options a program is compiled with, and that an unknown one is left out."""

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.lowering import options

QUICK = options._QUICK


pytestmark = pytest.mark.usefixtures("readers_options")


def test_only_tiny_images_are_compiled_with_less_optimisation():
    usual = lowering.compiler_options()
    assert lowering.compiler_options((8, 12)) == usual
    # jax 0.11 has lost the older emitters, and keeps the level of LLVM
    assert usual.items() < lowering.compiler_options((8, 8)).items()
    assert lowering.compiler_options((8, 8)).items() <= (usual | QUICK).items()
    assert lowering.compiler_options((8, 8))["xla_backend_optimization_level"] == 1
    program = jax.jit(jnp.sin, compiler_options=lowering.compiler_options((8, 8)))
    assert program(0.0) == 0.0


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    known = lowering.compiler_options((8, 8))
    options._quick.cache_clear()
    monkeypatch.setattr(options, "_QUICK", QUICK | {"xla_no_such_option": 1})
    assert lowering.compiler_options((8, 8)) == known


def test_xla_flags_of_the_user_come_before_the_options_of_tiny_images(monkeypatch):
    usual = lowering.compiler_options((8, 8))
    options._quick.cache_clear()
    flags = "--xla_cpu_multi_thread_eigen=true --xla_backend_optimization_level=3"
    monkeypatch.setenv("XLA_FLAGS", flags)
    chosen = lowering.compiler_options((8, 8))
    assert set(usual) - set(chosen) == {"xla_backend_optimization_level"}
    assert chosen.items() < usual.items()


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
