"""The command: a matrix under a run's weights, from the search's own draw and price."""

import csv
import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.cli.noise import _sentence
from egnas_jax.space import SPACES, Space
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.egnas.explore import first_generation
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.studies.noise.matrix import Matrix, matrices, of_cells, of_individuals
from egnas_jax.studies.noise.statistics import describe, kendall
from egnas_jax.studies.noise.study import Request, judged
from egnas_jax.types import Batch

# one node and two primitives: a network that compiles in seconds
SPACE = Space("tiny", primitives=("avg_pool_3x3", "skip_connect"), num_nodes=1)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An EG-NAS run of one epoch on digits."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    command = [
        "search",
        "--space",
        "tiny",
        "--set",
        "supernet.channels=4",
        "--set",
        "supernet.layers=2",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=128",
        "--set",
        "strategy.population=4",
        "--set",
        "strategy.fitness_batch_size=64",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", SPACE)
        assert main([*command, "--out", str(folder), "--json"]) == 0
        yield folder


def test_a_run_is_judged(run, tmp_path, capsys):
    command = ["noise", str(run), "--batches", "4", "--individuals", "5"]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "noise.json").read_text())
    assert printed == written
    assert written["candidates"] == "individuals"
    assert (written["size"], written["batches"], written["batch_size"]) == (5, 4, 64)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (written["epochs"], written["digest"]) == (1, last["digest"])
    for statistics in ("running", "batch"):
        shares = written["statistics"][statistics]["fitness"]["variance_share"]
        assert sum(shares.values()) == pytest.approx(1)
    text = (tmp_path / "out" / "noise.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == 2 * 5 * 4
    assert {"similarity", "correct_current", "fitness"} < set(rows[0])
    assert (tmp_path / "out" / "noise.svg").read_text().count("<svg") == 1

    again = [*command, "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert "tau between two batches" in capsys.readouterr().out
    for name in ("noise.csv", "noise.svg"):
        assert (tmp_path / "again" / name).read_text() == (
            tmp_path / "out" / name
        ).read_text()
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
def test_bad_input_is_refused(run, name, capsys):
    words, told = BAD[name]
    before = sorted(path.name for path in run.iterdir())
    assert main(["noise", *(word.replace("RUN", str(run)) for word in words)]) == 2
    assert told in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_run_without_a_checkpoint_is_refused(run, tmp_path, capsys):
    bare = shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    assert main(["noise", str(bare)]) == 2
    assert "holds no whole checkpoint" in capsys.readouterr().err


def _batches(batch, number):
    size = len(batch.labels) // number
    return tuple(leaf.reshape(number, size, *leaf.shape[1:]) for leaf in batch)


def test_individuals_are_those_that_the_search_would_price(toy_net, toy_batch):
    """One batch, and the winner is the one that the strategy's own update takes."""
    config = EGNASConfig(
        warmup=0,
        population=6,
        samples=1,
        generations=1,
        fitness_batch_size=24,
        batch_stats="running",
        centre="softmax",
    )
    variables = toy_net.init(jax.random.key(0))
    strategy = egnas(toy_net, config)
    state = strategy.init(jax.random.key(1))
    candidates = of_individuals(toy_net, config, state, KEY, 6)
    found = matrices(candidates, variables, *_batches(toy_batch, 1))
    _, info = strategy.update(KEY, state, variables, toy_batch, toy_batch)
    assert found["running"].fitness.min() == pytest.approx(float(info["fitness"]))
    assert not np.array_equal(found["running"].fitness, found["batch"].fitness)


def test_a_batch_is_priced_as_if_it_were_alone(toy_net, toy_batch):
    config = dataclasses.replace(
        EGNASConfig(), population=5, batch_stats="batch", fitness_batches=3
    )
    variables = toy_net.init(jax.random.key(0))
    state = egnas(toy_net, config).init(jax.random.key(1))
    candidates = of_individuals(toy_net, config, state, KEY, 5)
    found = matrices(candidates, variables, *_batches(toy_batch, 3))["batch"]
    for m in range(3):
        own = Batch(*(leaf[8 * m : 8 * (m + 1)] for leaf in toy_batch))
        loss, correct, current, near = candidates.price(
            candidates.who, variables, own, "batch"
        )
        np.testing.assert_allclose(found.cross_entropy[:, m], loss, rtol=1e-5)
        np.testing.assert_array_equal(found.correct[:, m], correct)
        np.testing.assert_array_equal(found.correct_current[m], current)
        np.testing.assert_allclose(found.similarity, near, rtol=1e-5)


@pytest.mark.parametrize("sign", ["paper", "centred"])
def test_several_batches_make_one_fitness_as_those_of_a_search_do(
    sign, toy_net, toy_batch
):
    config = dataclasses.replace(
        EGNASConfig(), population=5, batch_stats="batch", sign=sign, zeta=0.3, eta=2.0
    )
    variables = toy_net.init(jax.random.key(0))
    state = egnas(toy_net, config).init(jax.random.key(1))
    found = matrices(
        of_individuals(toy_net, config, state, KEY, 5),
        variables,
        *_batches(toy_batch, 3),
    )["batch"]
    z = first_generation(
        SPACES["darts7"], dataclasses.replace(config, samples=1), KEY, state
    )[0]
    for batches in (2, 3):
        own = Batch(*(leaf[: 8 * batches] for leaf in toy_batch))
        options = dataclasses.replace(config, fitness_batches=batches)
        expected = evaluate_fitness(
            toy_net, variables, state.alpha, z, *own, options
        ).fitness
        pooled = found.pooled(np.arange(batches)[None])[0]
        np.testing.assert_allclose(pooled, expected, rtol=1e-5)


def test_the_sign_of_several_batches_is_applied_once(toy_net):
    """By hand: correct 3 of 2 needed, then 1 of 3; together 4 of 5."""
    config = dataclasses.replace(EGNASConfig(), zeta=1.0, eta=0.5)
    state = egnas(toy_net, config).init(jax.random.key(1))
    found = Matrix(
        np.array([[1.0, 2.0]]),
        np.array([[3, 1]]),
        np.array([2, 3]),
        np.array([0.8]),
        of_individuals(toy_net, config, state, KEY, 1).fitness,
    )
    np.testing.assert_allclose(found.fitness, [[1.4, 1.6]])
    np.testing.assert_allclose(found.pooled(np.array([[0, 1]])), [[1.1]])


def test_candidates_are_taken_out_of_a_matrix_with_all_that_is_theirs():
    found = Matrix(
        np.arange(6.0).reshape(3, 2),
        np.arange(6).reshape(3, 2),
        np.arange(2),
        np.arange(3.0),
        lambda loss, correct, current, near: loss + 10 * near,
    )
    kept = found.of(np.array([True, False, True]))
    np.testing.assert_array_equal(kept.fitness, [[0, 1], [24, 25]])
    np.testing.assert_array_equal(kept.correct, [[0, 1], [4, 5]])


def test_cells_are_priced_by_their_cross_entropy(toy_net, toy_batch):
    variables = toy_net.init(jax.random.key(0))
    found = matrices(of_cells(toy_net, KEY, 7), variables, *_batches(toy_batch, 2))
    np.testing.assert_array_equal(
        found["running"].fitness, found["running"].cross_entropy
    )
    assert len(set(found["running"].cross_entropy[:, 0])) > 1


def of_losses(loss):
    """As derived cells have it: the fitness is the cross entropy."""
    size, batches = loss.shape
    return Matrix(
        loss,
        np.zeros(loss.shape, int),
        np.zeros(batches, int),
        np.zeros(size),
        lambda loss, *others: loss,
    )


def test_individuals_are_judged_by_one_fitness_of_several_batches():
    """Made by hand: under `batch` others are correct, so that signs differ."""
    rng = np.random.default_rng(5)
    found = {
        name: Matrix(
            1.0 + 0.1 * rng.normal(size=(12, 8)),
            rng.integers(20, 44, (12, 8)),
            np.full(8, 32),
            rng.random(12),
            lambda loss, correct, current, near: (
                jnp.where(correct >= current, 1.0, -1.0) * near + loss
            ),
        )
        for name in ("running", "batch")
    }
    request = Request("individuals", 12, 8, 64)
    said = judged(found, request)
    for name, matrix in found.items():
        expected = describe(matrix.fitness, matrix.pooled, reliability=0.9)
        assert said["statistics"][name]["fitness"] == expected
        assert expected != describe(matrix.fitness, reliability=0.9)
        loss = describe(matrix.cross_entropy, reliability=0.9)
        assert said["statistics"][name]["cross_entropy"] == loss
    every = np.arange(8)[None]
    for part, ours, others in (
        ("fitness", *(matrix.pooled(every)[0] for matrix in found.values())),
        (
            "cross_entropy",
            *(matrix.cross_entropy.mean(axis=1) for matrix in found.values()),
        ),
    ):
        against = said["running_against_batch"][part]
        assert against["kendall_on_all"] == pytest.approx(kendall(ours, others))
        assert against["kendall_on_all"] < 0.9
        same = bool(ours.argmin() == others.argmin())
        assert against["winner_on_all_same"] == same


@pytest.mark.parametrize(
    "batches, said",
    [
        (1, "; 1 batch gives ranks a repeatability of 0.9."),
        (8, "; 8 batches give ranks a repeatability of 0.9."),
        (
            9,
            "; 9 batches give ranks a repeatability of 0.9 "
            "(extrapolated from sets of 8).",
        ),
        (None, "; it takes more than 8 to give ranks a repeatability of 0.9."),
    ],
)
def test_a_sentence_says_what_is_extrapolated(batches, said):
    one = {
        "kendall": {"mean": 0.5},
        "same_winner": 0.5,
        "variance_share": {"candidate": 0.2, "batch": 0.3, "rest": 0.5},
        "batches_for": {"reliability": 0.9, "batches": batches, "measured_up_to": 8},
    }
    assert _sentence(one).endswith(said)


def test_candidates_that_are_not_finite_are_left_out_and_counted():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6))
    broken = np.concatenate([values, [[np.nan, *range(5)]]])
    whole, marred = (
        {name: of_losses(part) for name in ("running", "batch")}
        for part in (values, broken)
    )
    request = Request("cells", 4, 6, 8)
    clean, rest = judged(whole, request), judged(marred, request)
    assert (clean.pop("not_finite"), rest.pop("not_finite")) == (0, 1)
    assert clean == rest
    nothing = {
        name: of_losses(part)
        for name, part in dict(running=broken * np.nan, batch=broken).items()
    }
    with pytest.raises(FloatingPointError, match="5 of 5 candidates"):
        judged(nothing, request)
