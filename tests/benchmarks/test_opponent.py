"""How the torch loop is timed, with a side that only counts its calls."""

import pytest

from benchmarks import opponent, parity, rows


class Side:
    """Stands for `TorchSide`: an individual takes 0.1 s, and some calls longer."""

    def __init__(self, seconds):
        self.seconds, self.evaluated = seconds, []

    def population(self, *, individuals, batch_stats, chunk, images):
        self.evaluated.append((batch_stats, individuals))
        return {"seconds": 0.1 * len(individuals)}

    def weight_step(self, *, steps):
        return {"seconds": next(self.seconds)}

    def retrain_step(self, *, genotype, network, batch, steps, repeats):
        return {"seconds_all": [1.0, 1.0, 9.0, 2.0, 2.0][:repeats]}


@pytest.fixture
def case():
    return parity.CASES["full"]


def test_torch_is_timed_by_the_median_as_our_rows_are(case):
    # a call that is not timed, and five that are
    side = Side(iter([99.0, 0.5, 0.1, 0.2, 0.2, 9.0]))
    recipe = rows.recipe(case, trial=False)
    rates = dict(opponent.rates(side, case, recipe))
    assert rates["population-running"] == pytest.approx(128 / 0.1)
    assert rates["weight-step"] == pytest.approx(256 / 0.2)
    assert rates["retraining-step"] == pytest.approx(96 / 2.0)


def test_calls_of_parts_evaluate_every_individual_once(case):
    side = Side(iter([1.0] * 6))
    list(opponent.rates(side, case, rows.recipe(case, trial=False)))
    parts = [part for stats, part in side.evaluated if stats == "running"][1:]
    assert [len(part) for part in parts] == [10] * 5
    assert sorted(sum(parts, [])) == list(range(50))
    assert opponent.parts_of(range(3), 5) == [[0], [1], [2]]


def test_settings_of_torch_have_the_precision_of_one_of_our_rows():
    precisions = [opponent.precision_of(s) for s in opponent.SETTINGS["gpu"]]
    assert precisions == ["bfloat16", "bfloat16", "default"]
    assert set(precisions) < set(rows.PRECISIONS)
