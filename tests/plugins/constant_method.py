"""A plug-in: a method that never moves from its first mixing, and a preset for it."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

import egnas_jax as eg
from egnas_jax.space import Space

UPDATES = 1.0


@dataclasses.dataclass(frozen=True)
class ConstantConfig:
    sharpness: float = 0.0  # 0 is the even mixing

    valid_batch_size: ClassVar[int] = 1
    warmup: ClassVar[int] = 0
    individuals: ClassVar[None] = None


def constant(net, config):
    space = eg.SPACES[net.config.space]
    row = config.sharpness * jnp.arange(len(space.primitives), dtype=jnp.float32)
    logits = jnp.tile(row, (space.num_edges, 1))

    def update(key, state, *rest, **batches):
        return state, {"updates": jnp.full((), UPDATES)}

    return eg.Strategy(
        update_every="epoch",
        init=lambda key, hyperparams: dict.fromkeys(space.kinds, logits),
        mixing=lambda key, state: eg.softmax_mixing(state),
        update=update,
        incumbent=eg.softmax_mixing,
        hyperparams=(),
    )


eg.SPACES["one_node"] = Space(
    name="one_node",
    primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=1,
)
eg.register_strategy("constant", ConstantConfig, constant)
eg.register_preset(
    "constant_tiny",
    {
        "epochs": 2,
        "batch_size": 128,
        "steps_per_call": 2,
        "supernet.space": "one_node",
        "supernet.channels": 4,
        "supernet.layers": 2,
        "constant.sharpness": 1.0,
    },
)
eg.register_preset(
    "constant_tiny",
    {"epochs": 1, "network.channels": 4, "network.layers": 2},
    command="retrain",
)
