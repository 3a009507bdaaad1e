"""Fused kernels are refused where they cannot run."""

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.relax import unweighted


def trace(config):
    net = make_supernet(config)
    mixing = unweighted({"normal": jnp.ones((14, 7)), "reduce": jnp.ones((14, 7))})
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))
    images = jax.ShapeDtypeStruct((3, 8, 8, 3), jnp.float32)
    jax.eval_shape(net.apply, variables, images, mixing)


def test_a_cpu_refuses_a_supernet_of_fused_kernels():
    config = SupernetConfig(channels=4, layers=1, lowering="fused")
    with pytest.raises(ValueError, match="is fused, but the backend is cpu.*auto"):
        trace(config)
    with lowering.interpret_kernels():
        assert lowering.for_images("fused", (8, 8)) == "fused"


def test_only_a_gpu_takes_the_name():
    with lowering.assume_backend("gpu"):
        assert lowering.for_images("fused", (8, 8)) == "fused"
    with lowering.assume_backend("tpu"), pytest.raises(ValueError, match="is tpu"):
        lowering.for_images("fused", (8, 8))
