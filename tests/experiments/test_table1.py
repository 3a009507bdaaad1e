"""Table 1 of the report: every pair of weights forks from the seed's warm start."""

import csv
import json
import math

import pytest
from scipy import stats

from egnas_jax import EGNASConfig, NetworkConfig, count_params, zoo
from egnas_jax.space import SPACES


@pytest.fixture
def run_table1(load, stand_in, tmp_path):
    """Runs the tiny size with three seeds of known accuracies."""

    def metrics(call):
        seed, strategy = call.config.seed, call.config.strategy
        gain = 0.1 * strategy.zeta - 0.05 * seed * strategy.eta
        return {"valid_accuracy": 0.8 + 0.01 * seed**2 + gain}

    fake = stand_in(metrics)

    def run(epochs=9):
        words = f"--size tiny --seeds 3 --out {tmp_path} --set epochs={epochs}"
        load("table1").main(words.split())
        return json.loads((tmp_path / "table1.json").read_text())["rows"]

    run.fake = fake
    return run


def test_every_search_of_a_seed_forks_from_its_warm_start(run_table1, tmp_path):
    run_table1()
    calls = run_table1.fake.calls
    assert len(calls) == 3 * (1 + 11)  # distinct ratios of the weights
    warm = [call for call in calls if call.restore is None]
    assert [call.stop_after for call in warm] == [3] * 3
    variant = EGNASConfig.variant("reproduction")
    for call in calls:
        strategy = call.config.strategy
        assert call.is_search and call.config.epochs == 9
        assert strategy.warmup == 3 and strategy.weight_grid
        assert (strategy.candidates, strategy.step) == (variant.candidates, 0.6)
        if call not in warm:
            assert call.restore == tmp_path / f"warm_start-{call.config.seed}"
            assert call.stop_after is None


def test_rows_hold_means_tests_and_agreement_of_pairs(run_table1, tmp_path, capsys):
    rows = run_table1()
    assert [row[:2] for row in rows[:3]] == [[1.0, 1.0], [1.0, 0.8], [1.0, 0.4]]
    values, default = (
        [0.8 + 0.01 * seed**2 + 0.1 - 0.05 * seed * eta for seed in range(3)]
        for eta in (1.0, 0.4)
    )
    assert rows[0][3]["mean"] == pytest.approx(100 * sum(values) / 3)
    assert rows[0][4] == pytest.approx(stats.ttest_rel(values, default).pvalue)
    assert rows[2][4] is None
    # 0.2, 0.2 is the search of 1.0, 1.0, and 0.2, 0.4 that of 0.4, 0.8
    assert rows[15][2:7] == rows[0][2:7] and rows[14][2:7] == rows[9][2:7]
    # 1.0, 1.0 is apart in one of three populations, and 1.0, 0.4 and the second half in
    # another one; 0.8, 0.8 and 0.4, 0.2 choose as 1.0, 1.0 and 0.8, 0.4 do
    shares = [round(row[5]["mean"]) for row in rows]
    first, others = [67, 100, 100, 100, 100, 67, 100, 100], [67] * 3 + [100] + [67] * 4
    assert shares == first + others
    printed = capsys.readouterr().out
    row = "| 1.0 | 0.4 | 2.50 | 89.67 ± 0.58 (n = 3) | - | 100 ± 0 (n = 3) |"
    assert row in printed and "| 84.09 | 2.58 |" in printed


def test_details_and_figure_hold_the_agreement_of_every_two_pairs(run_table1, tmp_path):
    run_table1()
    details = json.loads((tmp_path / "table1-details.json").read_text())["details"]
    place = details["pairs"].index("0.2,1.0")
    assert details["agreement"][0][place] == pytest.approx(1 / 3)
    assert details["agreement"][place][place] == 1
    with (tmp_path / "table1.csv").open() as file:
        points = {
            (row["panel"], row["group"]): float(row["y"])
            for row in csv.DictReader(file)
        }
    assert points["0.2, 1.0", "1.0, 1.0"] == pytest.approx(100 / 3)


@pytest.mark.slow
def test_finished_runs_are_kept_and_those_of_other_settings_refused(run_table1):
    run_table1()
    run_table1()
    assert len(run_table1.fake.calls) == 36
    with pytest.raises(SystemExit, match="what another command made"):
        run_table1(epochs=8)


def test_the_printed_sizes_are_those_of_the_reports_cells(load):
    """The report cuts its figures off after two decimals."""
    weights = load("table1").WEIGHTS
    for i, eta in enumerate(weights, start=1):
        for j, zeta in enumerate(weights, start=1):
            _, printed = load("table1").REPORTED[zeta, eta]
            counted = count_params(zoo[f"seed_l{i}{j}"].genotype, NetworkConfig())
            assert printed == math.floor(counted / 1e4) / 100


def test_the_reports_settings_of_equal_ratio_lie_as_far_apart_as_all(load):
    reported = load("table1").REPORTED
    accuracies = {pair: accuracy for pair, (accuracy, _) in reported.items()}
    assert max(accuracies, key=accuracies.get) == (1.0, 0.4)
    # the sum of the 16 that it prints
    assert sum(accuracies.values()) == pytest.approx(1339.728)
    # by hand: 1, 1 and the like 84.036, 83.668, 83.632, 83.096; 2, 1 83.724, 83.184;
    # 1, 2 83.852, 83.684
    text = (
        "up to 0.94 points apart: standard deviation 0.35, that of all its 16 is 0.30"
    )
    assert text in load("table1").reported_noise()


def test_searches_run_as_batches_where_the_command_says_so(
    run_table1, load, tmp_path, capsys
):
    run_table1()
    assert run_table1.fake.batched == ["auto", "auto"]  # warm starts, and forks
    load("table1").main(
        f"--size tiny --seeds 2 --batched 6 --out {tmp_path / 'six'}".split()
    )
    assert run_table1.fake.batched[2:] == [6, 6]
    assert "--batched 6" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        load("table1").main(["--batched", "0", "--out", str(tmp_path / "none")])
    assert "--batched is '0'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_epochs_of_a_warm_start_count_once(load):
    """Forks of a batch have equal shares of its time, and each of them counts."""
    epochs = [{"epoch": i, "seconds": s} for i, s in enumerate((7.0, 2.0, 2.0))]
    outcome = load("methods").Outcome("a", 0, {}, epochs, taken_over=1)
    forks = [outcome, outcome._replace(method="b"), outcome._replace(seed=1)]
    assert load("forks").total_seconds(forks) == 2 * 7 + 3 * 4


@pytest.mark.longest
def test_a_tiny_table_1_trains_and_is_the_same_in_batches(
    load, tmp_path, monkeypatch, tiny_space
):
    monkeypatch.setitem(SPACES, "tiny", tiny_space)
    settings = "--size tiny --seeds 2 --weights 1.0 0.4 --set supernet.space=tiny"
    tables, runs = {}, {}
    for batched in ("off", "2", "2"):  # the second time all runs are finished
        out = tmp_path / batched
        words = f"{settings} --set epochs=4 --batched {batched} --out {out}"
        load("table1").main(words.split())
        tables[batched] = json.loads((out / "table1.json").read_text())["rows"]
        runs[batched] = {path.parent.name for path in out.rglob("summary.json")}
    rows = tables["off"]
    assert [row[:2] for row in rows] == [[1.0, 1.0], [1.0, 0.4], [0.4, 1.0], [0.4, 0.4]]
    # the setting itself chooses as it does
    agreement = [row[5]["mean"] for row in rows]
    assert agreement[1] == 100 and all(0 <= share <= 100 for share in agreement)
    names = {
        f"{pair}-{seed}"
        for pair in ("1.0,1.0", "1.0,0.4", "0.4,1.0")
        for seed in (0, 1)
    }
    assert runs["off"] == runs["2"] == names | {"warm_start-0", "warm_start-1"}
    for row, expected in zip(tables["2"], rows, strict=True):
        assert row[:3] == expected[:3] and row[6:] == expected[6:]
        # a rounding can move one of 719 images over a boundary
        assert row[3]["mean"] == pytest.approx(expected[3]["mean"], abs=0.3)
        assert row[5]["mean"] == pytest.approx(expected[5]["mean"], abs=1e-9)
    batches = [
        json.loads((tmp_path / "2" / name / "environment.json").read_text())["batch"]
        for name in ("warm_start-1", "0.4,1.0-1")
    ]
    places = [(batch["members"], batch["position"]) for batch in batches]
    assert places == [(2, 1), (2, 1)]
    origin = json.loads((tmp_path / "2" / "0.4,1.0-1" / "restored.json").read_text())
    assert origin["run"] == str(tmp_path / "2" / "warm_start-1")


def test_a_variant_without_the_weighed_term_is_refused(load, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        load("table1").main(["--variant", "revised", "--out", str(out)])
    assert "--variant revised has no similarity" in capsys.readouterr().err
    assert not out.exists()
