"""Particle swarms against EPCNAS's own arithmetic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import swarm


@pytest.fixture(scope="module")
def golden(load_golden):
    return load_golden("systems/pso")


def test_positions_follow_the_golden_trace(golden):
    constants = swarm.SwarmConstants()
    target = golden["target"]

    def fitness_of(position):  # the trace's, of which lower is better here
        distance = ((np.asarray(position, np.float64) - target) ** 2).sum(axis=1)
        return np.round(distance, 2)

    position = jnp.asarray(golden["start"], jnp.float32)
    velocity = jnp.ones_like(position)
    memory = swarm.empty_memory(position)
    remember = jax.jit(swarm.remember)
    memory = remember(memory, position, jnp.float32(fitness_of(position)))
    move = jax.jit(functools.partial(swarm.new_velocity, constants))
    for step, uniform in enumerate(golden["uniform"].astype(np.float32)):
        velocity = move(
            velocity, position, own=memory.own, best=memory.best, uniform=uniform
        )
        position = swarm.new_position(constants, position, velocity)
        fitness = jnp.float32(fitness_of(position))
        memory = remember(memory, position, fitness)
        close = dict(rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(velocity, golden["velocity"][step], **close)
        np.testing.assert_allclose(position, golden["position"][step], **close)
        np.testing.assert_allclose(
            memory.own_fitness, -golden["own_fitness"][step], **close
        )
        np.testing.assert_allclose(memory.best, golden["best_position"][step], **close)


def test_bits_follow_the_golden_trace(golden):
    constants = swarm.SwarmConstants()
    move = jax.jit(functools.partial(swarm.new_velocity, constants))
    own, best = (jnp.float32(golden[name]) for name in ("bits_own", "bits_best"))
    bits, velocity = jnp.float32(golden["bits_start"]), jnp.zeros(own.shape)
    for step, uniform in enumerate(golden["bits_uniform"].astype(np.float32)):
        velocity = move(velocity, bits, own=own, best=best, uniform=uniform[:2])
        bits = swarm.new_bits(velocity, uniform[2])
        np.testing.assert_array_equal(bits, golden["bits"][step])
        expected = golden["bits_velocity"][step]
        np.testing.assert_allclose(velocity, expected, rtol=1e-5, atol=1e-5)
        bits = jnp.float32(bits)


def test_equal_fitness_changes_no_best_position():
    positions = jnp.asarray([[1.0], [2.0], [3.0]])
    memory = swarm.empty_memory(positions)
    memory = swarm.remember(memory, positions, jnp.asarray([0.5, 0.2, 0.2]))
    assert memory.best == 2.0  # the first of equals
    moved = swarm.remember(memory, positions + 9, jnp.asarray([0.5, 0.2, jnp.nan]))
    np.testing.assert_array_equal(moved.own, positions)
    assert moved.best == 2.0
    better = swarm.remember(memory, positions + 9, jnp.asarray([0.4, 0.3, 0.1]))
    np.testing.assert_array_equal(better.own, [[10.0], [2.0], [12.0]])
    assert better.best == 12.0


def test_a_lower_cost_decides_between_equal_fitness_where_costs_are_given():
    positions = jnp.asarray([[1.0], [2.0], [3.0]])
    fitness, cost = jnp.asarray([0.5, 0.2, 0.2]), jnp.asarray([1.0, 9.0, 8.0])
    empty = swarm.empty_memory(positions)
    memory = swarm.remember(empty, positions, fitness, cost)
    assert memory.best == 3.0 and memory.best_cost == 8.0
    # equal, cheaper, and cheaper but worse
    moved = swarm.remember(
        *(memory, positions + 9),
        *(jnp.asarray([0.5, 0.2, 0.3]), jnp.asarray([1.0, 7.0, 1.0])),
    )
    np.testing.assert_array_equal(moved.own, [[1.0], [11.0], [3.0]])
    np.testing.assert_array_equal(moved.own_cost, [1.0, 7.0, 8.0])
    assert moved.best == 11.0 and moved.best_cost == 7.0


def test_whole_positions_are_truncated_toward_zero():
    position, velocity = jnp.asarray([1.5, -1.0, 0.2]), jnp.asarray([0.4, -0.9, -1.1])
    for whole, expected in ((False, [1.9, -1.9, -0.9]), (True, [1.0, -1.0, 0.0])):
        constants = swarm.SwarmConstants(whole=whole)
        new = swarm.new_position(constants, position, velocity)
        np.testing.assert_allclose(new, expected, rtol=1e-6)


def test_a_clamp_bounds_every_velocity():
    def velocity(clamp):
        return swarm.new_velocity(
            swarm.SwarmConstants(clamp=clamp),
            jnp.asarray([[9.0, -9.0, 1.0]]),
            jnp.zeros((1, 3)),
            own=jnp.zeros((1, 3)),
            best=jnp.zeros(3),
            uniform=jnp.ones((2, 1, 3)),
        )

    np.testing.assert_allclose(velocity(4.0), [[4.0, -4.0, 0.7298]], rtol=1e-6)
    assert velocity(float("inf"))[0, 0] > 6
