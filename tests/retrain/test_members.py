"""The program of several retrainings is no larger than that of one."""

import jax
import numpy as np
import pytest

from egnas_jax.nn import lowering
from egnas_jax.retrain.members import (
    STATE_AXES,
    inputs_of,
    make_member_programs,
    stack_states,
    state_of,
)
from egnas_jax.retrain.step import RetrainProblem


def lowered(run, width):
    """Text of the training of `width` members."""
    pipeline, shape = run.pipeline, (8, 8, 1)
    problem = RetrainProblem(run.net, run.config, shape, ((0.5,), (0.2,)), pipeline)
    state = jax.eval_shape(run.programs.init)
    states = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape), leaf.dtype), state
    ).replace(step=state.step)
    loaded = pipeline.joined.stack([pipeline.load(0, 1, 8)] * width)
    programs = make_member_programs(problem)
    inputs = inputs_of([run] * width, 0, 1)
    return programs.train.lower(states, loaded, inputs, np.int32(1)).as_text()


@pytest.mark.slow
def test_eight_retrainings_compile_as_one_does(tiny):
    """Few more lines, and no grouped convolution by the rules of a GPU."""
    run = tiny()
    with lowering.assume_backend("gpu"):
        one, eight = (lowered(run, width) for width in (1, 8))
    assert len(eight.splitlines()) <= 1.05 * len(one.splitlines())
    assert len(one) > 10_000
    assert "stablehlo.convolution" not in one + eight


def test_each_member_has_its_own_numbers_and_its_own_rows(tiny):
    settings = [(), ("seed=5", "learning_rate=0.2", "weight_decay=0.01")]
    runs = [tiny(*each) for each in settings]
    steps = runs[0].pipeline.num_steps
    inputs = inputs_of(runs, steps - 1, steps + 1)  # of two epochs
    assert inputs.drop_paths[0, 0] == 0 < inputs.drop_paths[0, 1]
    assert inputs.seed.tolist() == [0, 5]
    np.testing.assert_allclose(inputs.hyperparams.weight_decay, [3e-4, 0.01])
    np.testing.assert_allclose(2 * inputs.learning_rates[0], inputs.learning_rates[1])
    loaded = [run.pipeline.load(0, 2, 8) for run in runs]
    pixels, rows = runs[0].pipeline.joined.stack(loaded)
    assert pixels is loaded[0][0] and rows.shape == (2, 8, 64)
    assert np.any(rows[0] != rows[1])
    for own, (_, expected) in zip(rows, loaded, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_stacked_states_give_each_member_its_own(tiny):
    states = [tiny(f"seed={seed}").programs.init() for seed in (0, 1)]
    together = stack_states(None, states)
    assert together.step.shape == () and STATE_AXES.step is None
    for index, state in enumerate(states):
        own = state_of(jax.device_get(together), index)
        for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a, b)
