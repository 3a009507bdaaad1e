"""Rules choose from a table of scores, and what they choose becomes one record."""

import json

import numpy as np
import pytest

from egnas_jax.space import SPACES
from egnas_jax.studies.noise.matrix import Matrix


def matrix_of(loss):
    """Individuals [n P] that differ in their loss alone, whose fitness it is."""
    return Matrix(
        cross_entropy=loss,
        correct=np.ones(loss.shape, np.int64),
        correct_current=np.ones(loss.shape[1], np.int64),
        similarity=np.zeros(len(loss)),
        fitness_fn=lambda loss, correct, current, similarity: loss,
    )


@pytest.fixture
def matrices(load):
    """Four populations of 8 on 12 batches, and on their quarters: (experiment, ...)."""
    racing = load("racing")
    size = racing.Size(population=8, populations=4, repeats=30, seeds=1)
    rng = np.random.default_rng(0)
    true, noise = rng.normal(size=(32, 1)), rng.normal(size=(32, 48))

    def make(spread):
        small = true + spread * noise
        whole = small.reshape(32, 12, 4).mean(axis=-1)
        return {1: matrix_of(whole), 4: matrix_of(small)}

    return racing, size, make


def test_without_noise_every_rule_chooses_the_best(matrices):
    racing, size, make = matrices
    rows = racing.measure(make(0.0), 64, size)
    assert [row["rule"] for row in rows] == [
        "1 batch of 64",
        "4 batches of 16",
        "race for batches of 16",
        "4 batches of 64",
        "race for batches of 64",
        "race for batches of 64, ends at 0.95",
    ]
    for row in rows:
        assert (row["regret"], row["rank"]) == (0, 1)
        assert row["unseen"] == pytest.approx(rows[0]["unseen"])
    # 9 mixings on 1 batch, 5 on 2 and 3 on 5 of the race's 4 * 9; the last race ends
    # as soon as it may, after the second round
    images = [64, 64, 34 / 9 * 16, 256, 34 / 9 * 64, 19 / 9 * 64]
    np.testing.assert_allclose([row["images"] for row in rows], images)


def test_with_noise_more_images_and_races_have_less_regret(matrices):
    racing, size, make = matrices
    one, four, race, large, large_race, early = (
        row["regret"] for row in racing.measure(make(4.0), 64, size)
    )
    assert one == pytest.approx(four)  # the same images, and the fitness is a mean
    assert 0 < large_race < large < one and race < one
    assert large_race <= early < one


def test_an_individual_without_a_fitness_is_chosen_by_no_rule(matrices):
    racing, size, make = matrices
    tables = make(4.0)
    for table in tables.values():
        table.cross_entropy[[0, 9]] = np.nan
    for row in racing.measure(tables, 64, size):
        assert np.isfinite([row["regret"], row["unseen"]]).all()


def test_unseen_images_are_those_of_no_rule(matrices):
    racing, size, make = matrices
    assert racing.most_batches(size, 12) == 8
    with pytest.raises(ValueError, match="see 8 fitness batches.* make 8"):
        racing.most_batches(size, 8)
    table = make(4.0)[1].cross_entropy
    rng, values = np.random.default_rng(0), []
    for order in [rng.permutation(12) for _ in range(size.repeats)]:
        choice = table[:, order[0]].reshape(4, 8).argmin(axis=1)
        others = table[:, order[8:]].mean(axis=1).reshape(4, 8)
        values.append(others[np.arange(4), choice])
    first = racing.measure(make(4.0), 64, size)[0]
    assert first["unseen"] == pytest.approx(np.mean(values))


@pytest.mark.longest
def test_a_tiny_study_of_races_trains(load, tmp_path, monkeypatch, tiny_space):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    words = f"--size tiny --seeds 2 --out {tmp_path}"
    settings = "--set supernet.space=tiny --set epochs=4"
    load("racing").main([*words.split(), *settings.split()])
    record = json.loads((tmp_path / "racing.json").read_text())
    assert len(record["rows"]) == 4 * 6
    study = json.loads((tmp_path / "search-1" / "racing.json").read_text())
    running = study["statistics"]["running"]["cross_entropy"]
    # with running statistics a batch and its quarters are the same images
    assert running[0]["regret"] == pytest.approx(running[1]["regret"], abs=1e-5)
    assert all(cell[3]["mean"] >= 0 for cell in record["rows"])


def test_a_batch_that_races_cannot_divide_is_refused_before_any_search(
    load, tmp_path, capsys
):
    words = f"--size tiny --out {tmp_path / 'out'} --set strategy.fitness_batch_size=62"
    with pytest.raises(SystemExit, match="2"):
        load("racing").main(words.split())
    assert "is 62, but must be a multiple of 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
