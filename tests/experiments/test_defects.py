"""Three properties of the published code."""

import csv
import io
import json
import math

import jax
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.runs.finished_search import valid_batches
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.method import EGNAS
from egnas_jax.strategies.egnas.sampling import first_generation


@pytest.mark.slow
def test_the_constant_key_of_the_published_code_repeats_its_directions(load):
    """49 directions from the first of 50 individuals; 3 samples of 35 updates."""
    distinct_directions = load("defects_simulated").distinct_directions
    assert distinct_directions("official") == (49, 49 * 105)
    assert distinct_directions("paper") == (49 * 105, 49 * 105)


@pytest.mark.slow
def test_a_step_of_the_published_code_is_nearly_uniform(load):
    """s* of `official` is a softmax of shares: within 1 / (1 + 6 e) and e / (e + 6)."""
    random_walk = load("defects_simulated").random_walk
    walk = random_walk("official")
    smallest, largest = min(walk["smallest_share"]), max(walk["largest_share"])
    assert 0.13 < smallest < 1 / 7 < largest < 0.16
    share = math.e / (math.e + 6)
    assert 0 < walk["largest_relative_step"] < 0.1 * (share - 1 / 7)
    kept = walk["argmax_of_initial_noise"]
    assert len(kept) == 100
    # near chance after so many steps, far above it after one
    assert 1 / 7 < sum(kept) / 100 < 0.3
    first_step = random_walk("official", 1)
    assert sum(first_step["argmax_of_initial_noise"]) / 100 > 0.4
    assert max(first_step["largest_share"]) < largest


def test_the_figure_holds_every_point_and_the_ends_of_the_shares(load):
    signs = [
        {"variant": variant, "sign": sign, "gain_on_batch": 0.01 * seed}
        for variant in ("official", "paper")
        for sign in ("paper", "off")
        for seed in range(3)
    ]
    walks = {
        kind: {"official": {"smallest_share": [0.13, 0.14], "largest_share": largest}}
        for kind, largest in (("simulated", [0.16]), ("on images", [0.14, 0.15]))
    }
    plot = load("defects_plot").plot
    figure = plot("A title", {"official": (49, 5145)}, walks, signs)
    points = list(csv.DictReader(io.StringIO(figure.csv)))
    assert len(points) == 1 + 4 + 12 and "<svg" in figure.svg
    ends = {(point["panel"], point["run"]): float(point["y"]) for point in points}
    assert ends["softmax(alpha), simulated", "largest"] == 0.16
    assert ends["softmax(alpha), on images", "largest"] == pytest.approx(0.145)
    assert ends["softmax(alpha), on images", "least"] == pytest.approx(0.135)
    assert (points[-1]["group"], points[-1]["run"]) == ("paper off", "seed 2")
    assert float(points[-1]["y"]) == pytest.approx(2)


@pytest.fixture
def measured(load, tmp_path, monkeypatch, tiny_space):
    """The record's columns and rows of a tiny size, and options of `official`."""
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    monkeypatch.setattr(load("defects_simulated"), "SPACE", tiny_space)
    defects = load("defects")
    words = f"--size tiny --seeds 1 --out {tmp_path} --set supernet.space=tiny".split()
    defects.main(words)
    details = json.loads((tmp_path / "defects-details.json").read_text())
    record = details["record"]
    rows = {(row[0], row[1]): row[2:] for row in record["rows"]}
    options = load("forks").make_parser("A text.", None).parse_args(words)
    return record["columns"], rows, defects.of_variant(options, "official")


@pytest.mark.longest
def test_the_defects_are_measured_on_searches(load, measured):
    defects, (columns, rows, options) = load("defects"), measured
    kinds = ("35 simulated updates", "3 simulated updates", "3 updates on images")
    assert columns[3:6] == [f"softmax(alpha) after {kind}" for kind in kinds]
    assert list(rows)[:3] == [("paper", ""), ("official", ""), ("reproduction", "")]
    assert len(rows) == 3 + 2 * 3
    walk = _check_real_walk(load, options)
    walks = [*(defects.random_walk("official", updates) for updates in (35, 3)), walk]
    for cell, shares in zip(rows["official", ""][1:4], walks, strict=True):
        least, largest = load("defects_plot").mean_ends(shares)
        assert cell == f"{least:.4f} to {largest:.4f}"
    _check_sign_rule(load, options, rows["official", "off"])


def _check_real_walk(load, options) -> dict:
    """Shares at the end of a search are those of its alpha."""
    outcomes = load("forks").run({"search": {}}, options)  # finished already
    walk = load("defects").real_walk(outcomes, options.out, None)
    alpha = eg.load_search(options.out / "search-0").alpha
    shares = np.concatenate([np.ravel(jax.nn.softmax(rows)) for rows in alpha.values()])
    assert walk == {
        "updates": 3,
        "smallest_share": [pytest.approx(shares.min())],
        "largest_share": [pytest.approx(shares.max())],
    }
    return walk


def _check_sign_rule(load, options, cells) -> None:
    """The sign rule `off` chooses the least cross entropy of each batch."""
    (warm,) = load("forks").warm_starts(options)
    results = load("defects").sign_rule("official", [warm], None)
    rules = {row["sign"]: row for row in results}
    off = rules["off"]
    metrics = ("winner_less_accurate", "gain_on_batch", "gain_on_all")
    means = [cell["mean"] for cell in cells[-3:]]
    assert means == pytest.approx([100 * off[metric] for metric in metrics])
    evaluated, num_images = _evaluate_every_batch(warm)
    best = [int(batch.cross_entropy.argmin()) for batch in evaluated]
    gains = [
        int(batch.correct[i]) - int(batch.correct_current)
        for batch, i in zip(evaluated, best, strict=True)
    ]
    less_accurate = sum(gain < 0 for gain in gains) / 11
    assert off["explorations"] == 11
    assert off["gain_on_batch"] == pytest.approx(sum(gains) / 11 / 64)
    assert off["winner_less_accurate"] == pytest.approx(less_accurate)
    # the winner of each batch, on the images of all batches
    correct = sum(np.asarray(batch.correct) for batch in evaluated)
    current = sum(int(batch.correct_current) for batch in evaluated)
    on_all = (correct[best].mean() - current) / num_images
    assert off["gain_on_all"] == pytest.approx(on_all)
    mean = (correct.mean() - current) / num_images
    assert off["mean_gain_of_population"] == pytest.approx(mean)
    # what the defect is: pushed away where it is as good as alpha
    assert rules["paper"]["winner_less_accurate"] > less_accurate


def _evaluate_every_batch(folder):
    search = eg.load_search(folder)
    config, state = search.config.strategy, search.state
    images, labels = valid_batches(search, 11, 64, 0)
    method = EGNAS(SPACES["tiny"], config, config.hyperparams)
    z = first_generation(method, jax.random.key(0), state.strategy)[0]
    evaluated = [
        eg.evaluate_fitness(
            search.net, state.variables, search.alpha, z, *batch, config
        )
        for batch in zip(images, labels, strict=True)
    ]
    return evaluated, labels.size
