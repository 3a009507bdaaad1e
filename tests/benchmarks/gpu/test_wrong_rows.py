"""One row as a job: a wrong result is written, marked, and fails the job."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from campaign_context import Collector

from benchmarks import parity
from benchmarks.gpu import row_task
from benchmarks.rows import Row, same_arguments
from egnas_jax.types import Evaluation

GOLDEN = {
    "loss_running": np.array([2.0, 3.0]),
    "correct_running": np.array([4, 5]),
}


def population(losses, correct):
    """A row that returns these losses and correct answers of two individuals."""

    def run(scale):
        return Evaluation(scale * jnp.array(losses), jnp.array(correct), scale)

    return Row(
        name="population",
        precision="float32",
        function=run,
        arguments=(jnp.float32(1.0),),
        options={},
        run=same_arguments,
        images=2,
        products=0,
        bytes=None,
    )


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Measures a row of the case "trial" in a precision; returns its results."""
    monkeypatch.setattr(parity, "load", lambda case: GOLDEN)

    def measure(row, precision, program="population-running"):
        monkeypatch.setattr(row_task.programs, "build", lambda *arguments: row)
        context = Collector(tmp_path)
        error = None
        try:
            row_task.measure_row(context, "tiny", "trial", program, precision)
        except row_task.ParityError as raised:
            error = str(raised)
        [result] = context.results.values()
        return result, error

    return measure


@pytest.mark.parametrize("precision", ["float32", "default", "bfloat16"])
def test_nan_and_wrong_answers_fail_in_every_precision(precision, measure):
    right, error = measure(population([2.0, 3.0], [4, 5]), precision)
    assert right["wrong"] == [] and error is None
    result, error = measure(population([np.nan, 3.0], [4, 999]), precision)
    assert "loss nan" in result["wrong"][0] and "correct 994" in result["wrong"][1]
    assert result["wrong"][2] == "values that are not finite"
    assert f"population in {precision} is wrong: loss nan" in error


def test_rounding_of_bfloat16_fails_in_float32_alone(measure):
    rounded = population([2.002, 3.0], [4, 5])
    assert measure(rounded, "bfloat16")[0]["wrong"] == []
    assert measure(rounded, "float32")[0]["wrong"] == ["loss 0.001 (at most 0.0001)"]


def test_an_exploration_without_a_finite_fitness_is_not_finite():
    params = {"kernel": np.ones(2)}
    for skipped, expected in ((np.zeros(2, int), True), (np.array([0, 1]), False)):
        state = SimpleNamespace(
            params=params, strategy=SimpleNamespace(skipped=skipped)
        )
        assert row_task.is_finite(state) is expected


def test_a_row_that_torch_has_no_numbers_for_must_be_finite(measure):
    result, error = measure(population([np.inf, 3.0], [4, 5]), "bfloat16", "other-row")
    assert result["wrong"] == ["values that are not finite"] and error
