"""`egnas noise`: candidates and scores as the search itself would have them."""

import csv
import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.cli.noise import sentence
from egnas_jax.runs.search_config import search_config
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import first_generation, initial_state
from egnas_jax.strategies.egnas.state import state_without_evolutions
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.studies.noise.matrix import (
    Matrix,
    draw_cells,
    draw_individuals,
    evaluate_matrices,
)
from egnas_jax.studies.noise.repeatability import describe
from egnas_jax.studies.noise.study import (
    NoiseRequest,
    batch_of,
    complete,
    describe_matrices,
)
from egnas_jax.studies.statistics import kendall
from egnas_jax.types import Batch

KEY = jax.random.key(3)
SEARCH = [
    *("search", "--space", "tiny", "--json", "--set", "epochs=1"),
    *tiny_search.words(tiny_search.SETTINGS),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of an EG-NAS run of one epoch on digits."""
    folder = tmp_path_factory.mktemp("search") / "run"
    with tiny_search.registered_space():
        assert main([*SEARCH, "--out", str(folder)]) == 0
        yield folder


@pytest.mark.parametrize(
    "name, setting, size",
    [
        ("egnas", "fitness_batch_size", 24),
        ("random_search", "fitness_batch_size", 24),
        ("nsga2", "fitness_batch_size", 24),
        ("enas", "batch_size", 24),
        ("nasnet_ppo", "batch_size", 24),
        ("darts", "batch_size", 24),
        ("pc_darts", "batch_size", 24),
        ("snas", None, 40),  # it learns from the batches of the weights
    ],
)
def test_the_batch_is_the_one_by_which_the_method_chooses(name, setting, size):
    settings = {"batch_size": 40}
    settings |= {} if setting is None else {f"strategy.{setting}": 24}
    if name == "egnas":
        settings["strategy.fitness_batches"] = 3
    config = search_config("digits", strategy=name, settings=settings)
    assert batch_of(config) == size
    assert complete(NoiseRequest(), config, num_valid=719).batch_size == size
    given = complete(NoiseRequest(batch_size=7), config, num_valid=719)
    assert given.batch_size == 7


@pytest.mark.slow
def test_a_study_writes_and_prints_the_same_measures(run, tmp_path, capsys):
    command = ["noise", str(run), "--batches", "4", "--individuals", "5", "--out"]
    out = tmp_path / "out"
    assert main([*command, str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    result = json.loads((out / "noise.json").read_text())
    assert printed == result
    assert result["candidates"] == "individuals"
    assert (result["size"], result["batches"], result["batch_size"]) == (5, 4, 64)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (result["epochs"], result["digest"]) == (1, last["digest"])
    for kind in ("running", "batch"):
        shares = result["statistics"][kind]["fitness"]["variance_share"]
        assert sum(shares.values()) == pytest.approx(1)
    rows = list(csv.DictReader((out / "noise.csv").read_text().splitlines()))
    assert len(rows) == 2 * 5 * 4
    assert {"similarity", "correct_current", "fitness"} < set(rows[0])
    assert (out / "noise.svg").read_text().count("<svg") == 1

    again = tmp_path / "again"
    assert main([*command, str(again)]) == 0
    assert "tau between two batches" in capsys.readouterr().out
    for name in ("noise.csv", "noise.svg"):
        assert (again / name).read_text() == (out / name).read_text()
    assert not (run / "noise.json").exists()


BAD = {
    "no run": (["RUN/none"], "holds no run"),
    "too many batches": (["RUN", "--batches", "12"], "719 validation images"),
    "one batch": (["RUN", "--batches", "1"], "at least 2 of either"),
    "one individual": (["RUN", "--individuals", "1"], "at least 2 of either"),
    "no batches": (["RUN", "--batches", "0"], "--batches is 0"),
    "kind": (["RUN", "--candidates", "cell"], "Did you mean cells"),
    "reliability": (["RUN", "--reliability", "1"], "between 0 and 1"),
    "seed": (["RUN", "--seed", "-1"], "--seed is -1"),
    "empty": (["RUN", "--out", ""], "--out is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_is_written(run, name, capsys):
    words, message = BAD[name]
    before = sorted(path.name for path in run.iterdir())
    assert main(["noise", *(word.replace("RUN", str(run)) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_run_without_a_checkpoint_is_refused(run, tmp_path, capsys):
    bare = shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    assert main(["noise", str(bare)]) == 2
    assert "holds no whole checkpoint" in capsys.readouterr().err


@pytest.fixture(scope="module")
def problem(toy_net):
    """EG-NAS's state and the toy supernet's weights for a configuration.

    Returns:
      (options) -> configuration, weights, state.
    """

    def make(**options):
        config = EGNASConfig(**options)
        state = state_without_evolutions(SPACES["darts7"], jax.random.key(1))
        return config, toy_net.init(jax.random.key(0)), state

    return make


def _split(batch, number):
    size = len(batch.labels) // number
    parts = batch.images, batch.labels
    return tuple(leaf.reshape(number, size, *leaf.shape[1:]) for leaf in parts)


def _first(batch, images):
    return jax.tree.map(lambda leaf: leaf[:images], batch)


@pytest.mark.slow
def test_the_best_individual_on_one_batch_is_the_one_that_the_search_chooses(
    problem, toy_net, toy_batch
):
    config, variables, state = problem(
        warmup=0,
        population=6,
        samples=1,
        generations=1,
        fitness_batch_size=24,
        batch_stats="running",
        centre="softmax",
    )
    candidates = draw_individuals(toy_net, config, state, KEY, 6)
    matrices = evaluate_matrices(candidates, variables, *_split(toy_batch, 1))
    zeros = jax.tree.map(jnp.zeros_like, variables["params"])
    _, info = egnas(toy_net, config).update(
        KEY,
        state,
        config.hyperparams,
        Trainee(variables, zeros, jnp.float32(0.1)),
        train_batch=toy_batch,
        valid_batch=toy_batch,
    )
    running, batch = matrices["running"].fitness, matrices["batch"].fitness
    assert running.min() == pytest.approx(float(info["fitness"]))
    assert not np.array_equal(running, batch)


@pytest.mark.parametrize("options", [{"carried": "shape"}, {"sigma": "own"}])
def test_individuals_are_those_of_the_first_sample_of_what_is_carried(options, toy_net):
    config = EGNASConfig(population=6, samples=3, **options)
    method = EGNAS(SPACES["darts7"], config, config.hyperparams)
    state = initial_state(method, jax.random.key(1))
    alone = draw_individuals(toy_net, config, state, KEY, 4)
    sigmas = state.evolutions.replace(sigma=jnp.float32([5.0, 1.0, 1.0]))
    wide = state.replace(evolutions=sigmas)
    others = draw_individuals(toy_net, config, wide, KEY, 4)
    spread = [float(jnp.std(each.arrays[1])) for each in (alone, others)]
    by_sigma = "sigma" in options
    assert spread[1] == pytest.approx(spread[0] * (5 if by_sigma else 1), rel=0.01)


def test_individuals_have_the_eta_of_the_next_exploration(problem, toy_net):
    config, _, state = problem(eta_schedule="by_update", eta=0.4)
    state = state.replace(updates=jnp.int32(3))
    candidates = draw_individuals(toy_net, config, state, KEY, 4)
    one, count = jnp.ones((1,)), jnp.ones((1,), jnp.int32)
    fitness = candidates.fitness(one, count, count[0], one)
    assert fitness == pytest.approx(1.0 + 0.4 / 4)


@pytest.mark.slow
def test_every_batch_is_evaluated_alone(problem, toy_net, toy_batch):
    config, variables, state = problem(
        population=5, batch_stats="batch", fitness_batches=3
    )
    candidates = draw_individuals(toy_net, config, state, KEY, 5)
    images = _split(toy_batch, 3)
    matrix = evaluate_matrices(candidates, variables, *images)["batch"]
    for m in range(3):
        batch = Batch(*(leaf[m] for leaf in images))
        loss, correct, current, similarity = candidates.evaluate(
            candidates.arrays, variables, batch, "batch"
        )
        np.testing.assert_allclose(matrix.cross_entropy[:, m], loss, rtol=1e-5)
        np.testing.assert_array_equal(matrix.correct[:, m], correct)
        np.testing.assert_array_equal(matrix.correct_current[m], current)
        np.testing.assert_allclose(matrix.similarity, similarity, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["paper", "centred"])
def test_pooled_fitness_equals_that_of_several_fitness_batches(
    sign, problem, toy_net, toy_batch
):
    config, variables, state = problem(
        population=5, batch_stats="batch", sign=sign, zeta=0.3, eta=2.0
    )
    candidates = draw_individuals(toy_net, config, state, KEY, 5)
    matrices = evaluate_matrices(candidates, variables, *_split(toy_batch, 3))
    one_sample = dataclasses.replace(config, samples=1)
    method = EGNAS(SPACES["darts7"], one_sample, one_sample.hyperparams)
    z = first_generation(method, KEY, state)[0]
    for batches in (2, 3):
        images = _first(toy_batch, 8 * batches)
        options = dataclasses.replace(config, fitness_batches=batches)
        expected = evaluate_fitness(
            toy_net, variables, state.alpha, z, images.images, images.labels, options
        ).fitness
        pooled = matrices["batch"].pooled(np.arange(batches)[None])[0]
        np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_the_sign_of_several_batches_is_applied_once(problem, toy_net):
    config, _, state = problem(zeta=1.0, eta=0.5)
    matrix = Matrix(
        cross_entropy=np.array([[1.0, 2.0]]),
        correct=np.array([[3, 1]]),
        correct_current=np.array([2, 3]),
        similarity=np.array([0.8]),
        fitness_fn=draw_individuals(toy_net, config, state, KEY, 1).fitness,
    )
    # correct 3 against 2, then 1 against 3; together 4 against 5
    np.testing.assert_allclose(matrix.fitness, [[1.4, 1.6]])
    np.testing.assert_allclose(matrix.pooled(np.array([[0, 1]])), [[1.1]])


def test_selecting_candidates_selects_all_of_their_scores():
    matrix = Matrix(
        cross_entropy=np.arange(6.0).reshape(3, 2),
        correct=np.arange(6).reshape(3, 2),
        correct_current=np.arange(2),
        similarity=np.arange(3.0),
        fitness_fn=lambda loss, correct, current, similarity: loss + 10 * similarity,
    )
    selected = matrix.select(np.array([True, False, True]))
    np.testing.assert_array_equal(selected.fitness, [[0, 1], [24, 25]])
    np.testing.assert_array_equal(selected.correct, [[0, 1], [4, 5]])


@pytest.mark.slow
def test_the_fitness_of_cells_is_their_cross_entropy(toy_net, toy_batch):
    variables = toy_net.init(jax.random.key(0))
    cells = draw_cells(toy_net, KEY, 7)
    matrix = evaluate_matrices(cells, variables, *_split(toy_batch, 2))["running"]
    np.testing.assert_array_equal(matrix.fitness, matrix.cross_entropy)
    assert len(set(matrix.cross_entropy[:, 0])) > 1


def matrix_of_cells(loss):
    """The matrix of derived cells with these losses [P, M]."""
    size, batches = loss.shape
    return Matrix(
        cross_entropy=loss,
        correct=np.zeros(loss.shape, int),
        correct_current=np.zeros(batches, int),
        similarity=np.zeros(size),
        fitness_fn=lambda loss, *others: loss,
    )


@pytest.fixture
def matrices():
    """Random matrices of 12 individuals on 8 batches, whose signs differ by kind."""

    def fitness(loss, correct, current, similarity):
        return loss + jnp.where(correct >= current, 1.0, -1.0) * similarity

    def make(rng):
        return Matrix(
            cross_entropy=1.0 + 0.1 * rng.normal(size=(12, 8)),
            correct=rng.integers(20, 44, (12, 8)),
            correct_current=np.full(8, 32),
            similarity=rng.random(12),
            fitness_fn=fitness,
        )

    rng = np.random.default_rng(5)
    return {kind: make(rng) for kind in ("running", "batch")}


INDIVIDUALS = NoiseRequest(candidates="individuals", size=12, batches=8, batch_size=64)
CELLS = NoiseRequest(candidates="cells", size=4, batches=6, batch_size=8)


@pytest.mark.slow
def test_individuals_are_ranked_by_one_fitness_of_several_batches(matrices):
    result = describe_matrices(matrices, INDIVIDUALS)
    for kind, matrix in matrices.items():
        expected = describe(matrix.fitness, matrix.pooled, reliability=0.9)
        assert result["statistics"][kind]["fitness"] == expected
        assert expected != describe(matrix.fitness, reliability=0.9)
        loss = describe(matrix.cross_entropy, reliability=0.9)
        assert result["statistics"][kind]["cross_entropy"] == loss


def test_both_kinds_of_statistics_are_compared_on_all_batches(matrices):
    result = describe_matrices(matrices, INDIVIDUALS)["running_against_batch"]
    every = np.arange(8)[None]
    for metric, (running, batch) in {
        "fitness": [matrix.pooled(every)[0] for matrix in matrices.values()],
        "cross_entropy": [m.cross_entropy.mean(axis=1) for m in matrices.values()],
    }.items():
        tau = result[metric]["kendall_on_all"]
        assert tau == pytest.approx(kendall(running, batch)) and tau < 0.9
        same = bool(running.argmin() == batch.argmin())
        assert result[metric]["winner_on_all_same"] == same


@pytest.mark.parametrize(
    "batches, text",
    [
        (1, "1 batch gives RANKS."),
        (8, "8 batches give RANKS."),
        (9, "9 batches give RANKS (extrapolated from sets of 8)."),
        (None, "it takes more than 8 to give RANKS."),
    ],
)
def test_the_summary_says_what_is_extrapolated(batches, text):
    text = text.replace("RANKS", "ranks a repeatability of 0.9")
    measures = {
        "kendall": {"mean": 0.5},
        "same_winner": 0.5,
        "variance_share": {"candidate": 0.2, "batch": 0.3, "rest": 0.5},
        "batches_for": {"reliability": 0.9, "batches": batches, "measured_up_to": 8},
    }
    assert sentence(measures).endswith(f"; {text}")


def test_candidates_that_are_not_finite_are_left_out_and_counted():
    values = np.random.default_rng(0).normal(size=(4, 6))
    with_nan = np.concatenate([values, [[np.nan, *range(5)]]])
    clean, rest = (
        describe_matrices(
            {kind: matrix_of_cells(loss) for kind in ("running", "batch")}, CELLS
        )
        for loss in (values, with_nan)
    )
    assert (clean.pop("not_finite"), rest.pop("not_finite")) == (0, 1)
    assert clean == rest


def test_nothing_is_ranked_where_no_candidate_is_finite():
    values = np.ones((5, 6))
    matrices = {
        "running": matrix_of_cells(values * np.nan),
        "batch": matrix_of_cells(values),
    }
    with pytest.raises(FloatingPointError, match="5 of 5 candidates"):
        describe_matrices(matrices, CELLS)
