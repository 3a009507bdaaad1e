"""Initial values are the same whether they are cut on the host or in a program."""

import functools

import jax
import numpy as np

from egnas_jax.nn.init import constant, draw, uniform

TREE = {
    "a": uniform((2, 3), 4),
    "b": constant((2,), 1.0),
    "c": [uniform((5,), 1)],
}


def test_values_are_equal_bit_for_bit_where_the_key_is_traced(assert_close):
    key = jax.random.key(3)
    on_host, traced = draw(key, TREE), jax.jit(lambda key: draw(key, TREE))(key)
    assert_close(on_host, traced, 0.0)
    keys = jax.random.split(key, 2)
    one_by_one = [draw(key, TREE) for key in keys]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *one_by_one)
    assert_close(jax.vmap(functools.partial(draw, tree=TREE))(keys), stacked, 0.0)


def test_values_lie_within_their_bounds_and_constants_are_constant():
    drawn = draw(jax.random.key(0), TREE)
    assert np.abs(drawn["a"]).max() <= 0.5  # 1 / sqrt(4)
    assert len(np.unique(np.concatenate([np.ravel(drawn["a"]), drawn["c"][0]]))) == 11
    assert (drawn["b"] == 1.0).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {np.dtype("float32")}


def test_values_are_where_the_key_was_put():
    key = jax.random.key(0)
    assert not draw(key, TREE)["a"].committed
    there = draw(jax.device_put(key, jax.devices()[-1]), TREE)["a"]
    assert there.committed and there.devices() == {jax.devices()[-1]}


def test_no_implicit_transfer():
    key = jax.random.key(1)
    with jax.transfer_guard("disallow"):
        draw(key, TREE)
