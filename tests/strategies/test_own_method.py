"""A method of one's own is a configuration, a function, and an entry of the table."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import pytest
import tiny_search

import egnas_jax as eg


@dataclasses.dataclass(frozen=True)
class ConstantConfig:
    """A method that never moves from its first mixing; `sharpness` of 0 is even."""

    sharpness: float = 0.0

    valid_batch_size: ClassVar[int] = 1
    warmup: ClassVar[int] = 0
    individuals: ClassVar[None] = None


def constant(net, config):
    space = eg.SPACES[net.config.space]
    row = config.sharpness * jnp.arange(len(space.primitives), dtype=jnp.float32)
    logits = jnp.tile(row, (space.num_edges, 1))

    def incumbent(state):
        return eg.softmax_mixing(state)

    return eg.Strategy(
        update_every="epoch",
        init=lambda key, hyperparams: dict.fromkeys(space.kinds, logits),
        mixing=lambda key, state: incumbent(state),
        update=lambda key, state, *rest, **batches: (state, {"updates": jnp.ones(())}),
        incumbent=incumbent,
        hyperparams=(),
    )


@pytest.mark.slow
def test_a_method_of_ones_own_runs_by_its_name(monkeypatch):
    monkeypatch.setitem(eg.STRATEGIES, "constant", (ConstantConfig, constant))
    settings = tiny_search.OF_ANY_METHOD | {"epochs": 1, "strategy.sharpness": 1.0}
    with tiny_search.registered_space():
        config = eg.search_config(
            "digits",
            strategy="constant",
            space=tiny_search.SPACE.name,
            settings=settings,
        )
        result = eg.run_search(config)
    (record,) = result.records
    assert record["updates"] == 1
    last = tiny_search.SPACE.primitives[-1]
    assert result.genotype.normal == ((last, 0), (last, 1))
