"""The methods in docs/extending.md are plug-ins that work as they stand there."""

import dataclasses
import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import own_plugins
import pytest
import tiny_search

import egnas_jax as eg
from egnas_jax.space.mixing_arrays import live_mask
from egnas_jax.types import Batch

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def load_documented(heading, path):
    """Loads the first Python of a section as a plug-in with this path."""
    text = DOCUMENT.read_text()
    section = text[text.index(heading) :]
    path.write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    return eg.load_plugin(path)


@pytest.fixture
def config(tmp_path):
    with own_plugins.as_in_a_new_process(), tiny_search.registered_space():
        plugin = load_documented("## A method", tmp_path / "hill_climb.py")
        assert plugin.names == {"strategy": ["hill_climb"], "preset": ["digits_climb"]}
        yield eg.search_config(
            "digits_climb", strategy="hill_climb", space=tiny_search.SPACE.name
        )


def test_the_documented_method_keeps_to_the_protocol(config):
    assert (config.epochs, config.strategy.neighbours) == (20, 32)
    _, make = eg.STRATEGIES["hill_climb"]
    net = eg.make_supernet(config.supernet)
    strategy = make(net, config.strategy)
    state = strategy.init(jax.random.key(0), ())
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 1)))
    size = config.strategy.valid_batch_size
    batch = Batch(jnp.zeros((size, 8, 8, 1)), jnp.zeros(size, jnp.int32))

    def update(variables):
        trainee = eg.Trainee(variables, momentum=None, learning_rate=jnp.float32(0.1))
        batches = dict(train_batch=batch, valid_batch=batch)
        return strategy.update(jax.random.key(1), state, (), trainee, **batches)

    after, info = jax.eval_shape(update, variables)
    like = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == like
    assert info["best_loss"].shape == ()


def test_the_documented_method_weighs_nothing_that_an_edge_lacks(config):
    space = eg.SPACES["robust_s1"]
    supernet = dataclasses.replace(config.supernet, space=space.name)
    _, make = eg.STRATEGIES["hill_climb"]
    strategy = make(eg.make_supernet(supernet), config.strategy)
    state = strategy.init(jax.random.key(0), ())
    mixing = strategy.mixing(jax.random.key(1), state)
    chex.assert_trees_all_equal(mixing, strategy.incumbent(state))
    for kind, rows in mixing.primitives.items():
        mask = live_mask(space, kind)
        expected = mask / mask.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_the_documented_variant_of_egnas_steps_and_learns(
    tmp_path, two_node_net, toy_batch, update_of
):
    with own_plugins.as_in_a_new_process():
        load_documented("## Change EG-NAS itself", tmp_path / "own_egnas.py")
        config, make = eg.STRATEGIES["own_egnas"]
        strategy = make(two_node_net, config(weight=0.0, fitness_batch_size=24))
    variables = two_node_net.init(jax.random.key(1))
    state = first = strategy.init(jax.random.key(0), ())
    update, losses = update_of(strategy), []
    for step in range(30):
        key = jax.random.key(step)
        state, info = update(key, state, variables, toy_batch)
        losses.append(float(info["fitness"]))
        if step == 0:
            for kind, rows in state.items():
                steps = jnp.abs(rows - first[kind])
                assert jnp.allclose(steps, config.step, atol=1e-6)
    assert jnp.mean(jnp.array(losses[-5:])) < jnp.mean(jnp.array(losses[:5]))
