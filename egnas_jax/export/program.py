"""Writes the network as a StableHLO program, which only needs jax to run.

`jax.export.deserialize(bytearray(open(FILE, "rb").read())).call(images)` runs it.
"""

import jax
import jax.numpy as jnp
from jax import export

from egnas_jax.data.augment import normalise
from egnas_jax.export.description import Finished
from egnas_jax.nn.network import make_network
from egnas_jax.training.jax_settings import pinned

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@pinned()
def as_stablehlo(finished: Finished) -> bytes:
    """A program of pixels u8[batch, H, W, C] -> logits f32[batch, K], with its weights.

    The batch size is symbolic, so the program takes any. The compatibility guarantees
    of `jax.export` say which later versions of jax can read it.
    """
    net = make_network(finished.genotype, finished.config)

    def logits(images):
        pixels = normalise(images, finished.mean, finished.std)
        return net.apply(finished.variables, pixels)[0]

    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *finished.image_shape), jnp.uint8)
    exported = export.export(jax.jit(logits), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())
