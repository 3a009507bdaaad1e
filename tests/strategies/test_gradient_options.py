"""Every option of the gradient methods changes the search."""

import dataclasses

import jax
import numpy as np
import pytest

from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.space import SPACES
from egnas_jax.strategies import STRATEGIES

# name -> settings to start from, and another value of each field
ADAM = dict(learning_rate=0.02, beta1=0.9, weight_decay=0.1)
OTHER = {
    "darts": (
        dict(learning_rate=0.1),
        dict(ADAM, batch_size=7, second_order="exact"),
    ),
    "pc_darts": (
        dict(learning_rate=0.1, warmup=0),
        dict(ADAM, batch_size=7, warmup=1),
    ),
    "p_darts": (
        dict(
            learning_rate=0.1, warmup=0, skip_dropout="0,0,0", kept="5,3,1", max_skips=8
        ),
        dict(
            ADAM,
            clip_norm=1e-4,
            batch_size=7,
            valid_batches="drawn",
            warmup=1,
            stage_epochs="3,3,9",
            added_layers="0,6,13",
            added_channels="0,0,4",
            kept="6,3,1",
            skip_dropout="0.3,0,0",
            max_skips=0,
        ),
    ),
    "snas": (
        dict(learning_rate=0.5, clip_norm=0.01, resource_penalty=0.01),
        dict(
            ADAM,
            alpha_optimizer="adam",
            clip_norm=0.1,
            temperature=2.0,
            temperature_min=0.5,
            temperature_epochs=2,
            resource_penalty=0.5,
            resource_cells="six_and_two",
            drop_path=0.3,
            derive="two",
        ),
    ),
}
# without which a field would have no use, or little in three epochs
NEEDED = {
    ("snas", "beta1"): dict(alpha_optimizer="adam"),
    ("snas", "temperature_min"): dict(temperature_epochs=3),
}
SPACE = SPACES["darts8"]
CASES = [(name, field) for name, (_, other) in OTHER.items() for field in other]


@pytest.fixture(scope="module")
def outcome(toy_net, toy_batch, update_of):
    """(name, settings) -> what a search of three epochs of one step ends with."""
    fields = dict(channels=4, layers=3, num_classes=3, space="darts8")
    net = toy_net._replace(config=SupernetConfig(**fields))
    variables = toy_net.init(jax.random.key(1))
    known = {}

    def run(name, settings):
        config = STRATEGIES[name][0](**settings)
        if config in known:
            return known[config]
        strategy = STRATEGIES[name][1](net, config)
        update, key = update_of(strategy), jax.random.key(0)
        state = strategy.init(key, strategy.hyperparams)
        for epoch in range(3):
            key = jax.random.fold_in(key, epoch)
            factor = 1.0 + epoch  # so that the gradients differ
            batch = toy_batch.replace(images=factor * toy_batch.images)
            state, _ = update(key, state, variables, batch, epoch=epoch)
        plan = getattr(config, "plan", lambda *sizes: ())
        incumbent = strategy.incumbent(state)
        genotype = derive_incumbent(strategy, SPACE, incumbent)
        of_loop = (  # what the loop applies
            config.valid_batch_size,
            strategy.drop_path,
            strategy.permutes_valid,
            [stage._replace(strategy=None) for stage in plan(net.config, 15)],
        )
        known[config] = jax.tree.leaves(incumbent), genotype, of_loop
        return known[config]

    return run


def test_every_field_is_varied():
    for name, (_, other) in OTHER.items():
        fields = {field.name for field in dataclasses.fields(STRATEGIES[name][0])}
        assert set(other) == fields, name


@pytest.mark.parametrize("name, field", CASES)
def test_an_option_changes_something(name, field, outcome):
    settings, other = OTHER[name]
    settings = {**settings, **NEEDED.get((name, field), {})}
    first = outcome(name, settings)
    second = outcome(name, {**settings, field: other[field]})
    pairs = zip(first[0], second[0], strict=True)
    same = all(np.allclose(*pair, rtol=0, atol=1e-5) for pair in pairs)
    assert not (same and first[1:] == second[1:])
