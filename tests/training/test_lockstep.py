"""Compares shards in lockstep with `jax.vmap` over an axis of the same name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharded_functions
from jax import lax
from sharded_functions import AXIS, W, X

from egnas_jax.training import lockstep_plan as plan
from egnas_jax.training.lockstep import sum_in_order, turns_of
from egnas_jax.training.shards import Division, over_images, over_rows

SHARDS = 4


@pytest.mark.parametrize("function", sharded_functions.ALL)
def test_shards_in_lockstep_are_those_of_a_batched_function(function):
    found = jax.jit(lambda x, w: over_images(Division(None, SHARDS), function, x, w))
    sums, equal = found(X, W)
    parts = X.reshape(SHARDS, 2, 3)
    all_sums, all_equal = jax.vmap(function, in_axes=(0, None), axis_name=AXIS)(
        parts, W
    )
    expected = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), all_sums)
    for a, b in zip(*map(jax.tree.leaves, (sums, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (equal, all_equal)), strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-5)


def test_rows_are_computed_shard_by_shard_and_no_copy_is_returned():
    def function(rows, w):
        return jnp.cumsum(rows) * w  # shows which rows are computed together

    divided = jax.jit(lambda r: over_rows(Division(None, 4), function, r, 2.0))
    found = divided(jnp.arange(1.0, 6.0))  # two of each shard, and none for the last
    assert found.tolist() == [2.0, 6.0, 6.0, 14.0, 10.0]


def test_a_sum_is_taken_in_the_order_of_the_shards():
    """In any other order the small numbers are lost otherwise."""
    values = jnp.asarray([1e8, 1.0, -1e8, 1.0], jnp.float32)
    assert jax.jit(sum_in_order)(values) == 1.0


def test_turns_are_the_number_asked_for_whatever_the_values_are():
    least = jnp.iinfo(jnp.int32).min
    for value in (jnp.asarray([-jnp.inf]), jnp.asarray([least, 3]), jnp.ones((2, 2))):
        assert turns_of(5, value) == 5


def test_exchanges_share_a_stage_where_none_depends_on_another():
    def function(x):
        a, b = lax.psum(x, AXIS), lax.psum(x * 2.0, AXIS)
        return lax.psum(x * a * b, AXIS)

    traced = jax.make_jaxpr(function, axis_env=[(AXIS, 2)])(1.0)
    program = plan.program_of(traced)
    stages = plan.stages_of(program, plan.varying_in(program, [True]))
    assert [len(stage.exchanges) for stage in stages] == [2, 1]


def test_an_exchange_in_an_unknown_loop_is_refused():
    def function(x):
        return lax.while_loop(lambda y: y < 9.0, lambda y: lax.psum(y, AXIS), x), x

    with pytest.raises(NotImplementedError, match="within JAX's primitive while"):
        over_images(Division(None, 2), lambda x: function(x[0]), jnp.ones(4))


def test_a_branch_that_depends_on_the_images_is_refused():
    def function(x):
        return lax.cond(x[0] > 0, lambda: lax.psum(x[0], AXIS), lambda: 0.0), 1.0

    with pytest.raises(NotImplementedError, match="depend on no image"):
        over_images(Division(None, 2), function, jnp.ones(4))


def test_known_numbers_stay_constants_of_each_part():
    """XLA divides by a constant in another way than by an argument."""
    counts = np.asarray([[3.0, 7.0]], np.float32)

    def function(x):
        mean = lax.psum(jnp.sum(x / counts), AXIS)
        return jnp.sum((x - mean) / counts), mean

    program = plan.program_of(
        jax.make_jaxpr(function, axis_env=[(AXIS, 2)])(jnp.ones((1, 2)))
    )
    stages = plan.stages_of(program, plan.varying_in(program, [True]))
    read = {v for stage in stages for v in stage.varying.inputs}
    assert not read & {v for e in program.fixed for v in e.outvars}
