"""Small functions whose shards exchange, for tests of training/shards.py."""

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.nn.sync_batch_norm import all_reduce_moments

AXIS = "images"
X = jax.random.normal(jax.random.key(0), (8, 3))
W = jnp.asarray([[0.5, -1.0, 2.0]])


def centred(x, w):
    """A mean over all shards in the middle, and its gradients."""

    def loss(w):
        y = jnp.tanh(x * w)
        mean = lax.psum(jnp.sum(y), AXIS) / 24.0
        return jnp.sum((y - mean) ** 2)

    return jax.value_and_grad(loss)(w), lax.psum(jnp.sum(x), AXIS)


def numbered(x, w):
    """Uses the shard's own number, and the rows of all."""
    everything = lax.all_gather(x, AXIS, tiled=True)
    start = lax.axis_index(AXIS) * len(x)
    own = lax.dynamic_slice_in_dim(everything * w, start, len(x))
    number = lax.axis_index(AXIS).astype(jnp.float32)
    return jnp.sum(own * number), lax.all_gather(w, AXIS, axis=1)


def looped(x, w):
    """Exchanges in the body of a loop, and in a branch there."""

    def step(carry, i):
        def one(y):
            return y * 0.5, jnp.zeros(())

        def two(y):
            total = lax.psum(jnp.sum(y), AXIS)
            return y - total / 7.0, total

        carry, total = lax.switch(i % 2, [one, two], carry)
        return carry, (total, jnp.sum(carry))

    y, (totals, own) = lax.scan(step, x * w, jnp.arange(3))
    return (jnp.sum(y), own), totals


def random(x, w):
    """Draws other numbers in each shard."""
    key = jax.random.fold_in(jax.random.key(3), lax.axis_index(AXIS))
    noise = jax.random.normal(key, x.shape)
    mean = lax.psum(jnp.sum(noise), AXIS)
    return jnp.sum((noise - mean) * x * w), mean


def normed(x, w):
    """Two batch norms in a row, whose moments are those of all shards."""

    def norm(y):
        mean, var = all_reduce_moments(jnp.mean(y), jnp.var(y))
        return (y - mean) / jnp.sqrt(var + 1e-3), (mean, var)

    def loss(w):
        y, first = norm(jnp.tanh(x * w))
        y, second = norm(y * w)
        return jnp.sum(y**3), (first, second)

    (value, moments), gradient = jax.value_and_grad(loss, has_aux=True)(w)
    return (value, gradient), moments


def gathered(x, w):
    """Statistics of the gathered batch, as of a primitive of a plug-in."""

    def loss(w):
        y = lax.all_gather(jnp.tanh(x * w), AXIS, tiled=True)
        start = lax.axis_index(AXIS) * len(x)
        own = lax.dynamic_slice_in_dim(y - jnp.mean(y), start, len(x))
        return jnp.sum(own**3)

    return jax.value_and_grad(loss)(w), jnp.zeros(())


ALL = (centred, numbered, looped, random, normed, gathered)
