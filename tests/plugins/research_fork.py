import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

import egnas_jax as eg


class SqueezeExcite(nn.Module):
    channels: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.channels, (3, 3), self.stride)(nn.relu(x))
        hidden = nn.relu(nn.Dense(4)(x.mean((1, 2))))
        return x * nn.sigmoid(nn.Dense(self.channels)(hidden))[:, None, None]


def init(key, channels, stride):
    ones = jnp.ones((1, 1, 1, channels))
    stats = {"mean": 0 * ones, "var": ones}
    return {"w": jax.random.normal(key, (channels, channels)) / channels}, stats


def norm_conv(params, stats, x, stride, train):
    y = nn.relu(x)[:, ::stride, ::stride] @ params["w"]
    pixels = {"axis": (0, 1, 2), "keepdims": True}
    seen = {"mean": y.mean(**pixels), "var": y.var(**pixels)} if train else stats
    y = (y - seen["mean"]) / jnp.sqrt(seen["var"] + 1e-5)
    return y, jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, stats, seen)


@dataclasses.dataclass(frozen=True)
class WanderConfig:
    step: float = 0.5
    valid_batch_size, warmup, individuals = 1, 0, None


def wander(net, config):
    space, mix = eg.SPACES[net.config.space], eg.softmax_mixing
    start = dict.fromkeys(space.kinds, jnp.zeros((space.num_edges, 3)))

    def update(key, alpha, *_, **batches):
        move = config.step * jax.random.normal(key, (space.num_edges, 3))
        return {kind: rows + move for kind, rows in alpha.items()}, {}

    return eg.Strategy("epoch", lambda *_: start, lambda _, a: mix(a), update, mix, ())


eg.register_primitive(eg.Primitive("norm_conv", init, norm_conv, family="conv"))
eg.register_primitive(eg.primitive_from_linen("squeeze_excite", SqueezeExcite))
EDGES = ((0, 2), (1, 2), (1, 3), (2, 3), (0, 4), (3, 4), (2, 5), (4, 5), (1, 6), (5, 6))
PRIMITIVES = ("skip_connect", "norm_conv", "squeeze_excite")
eg.register_space(eg.Space("fork", PRIMITIVES, num_nodes=5, edges=EDGES))
eg.register_strategy("wander", WanderConfig, wander)
