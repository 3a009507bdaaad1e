"""What the experiments reckon, without their runs."""

import importlib
import json
import pathlib
import signal
import subprocess
import sys

import pytest

from egnas_jax import record
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network import NetworkConfig
from egnas_jax.space import zoo

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "experiments"
CELL = zoo["DARTS_V2"].genotype
SUMMARY = dict(
    genotype="text", params=2_580_000, multiply_adds=None,
    multiply_adds_convention="convolutions", search_seconds=None, test_images=10_000,
)  # fmt: skip


@pytest.fixture
def load(monkeypatch):
    """Imports a file of experiments/ as its own command does."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


class Runs:
    """Stands in for `egnas retrain`: writes what it records, and may be cut short."""

    def __init__(self, deadline_after=None):
        self.commands, self.deadline_after = [], deadline_after

    def __call__(self, command, deadline):
        given = dict(zip(command, command[1:], strict=False))
        self.commands.append(command)
        folder = pathlib.Path(given["--out"])
        metrics = folder / "metrics.jsonl"
        seed = int(folder.name.removeprefix("seed"))
        done = len(record.read(metrics)) if metrics.exists() else 0
        goal = int(given["--stop-after"])
        cut = self.deadline_after is not None and done + self.deadline_after < goal
        goal = done + self.deadline_after if cut else goal
        folder.mkdir(parents=True, exist_ok=True)
        for epoch in range(done, goal):
            error = 0.1 * (seed + 1) / (epoch + 1)
            record.append(metrics, {"epoch": epoch, "test_error": error, "seconds": 2})
        if cut:
            return 130
        whole = SUMMARY | {"test_error_last": error, "test_error_best": error,
                           "seconds": 2.0 * goal, "epochs": goal}  # fmt: skip
        record.write_json(folder / "summary.json", whole)
        return 0


def test_a_table_is_carried_over_pieces_of_epochs(load, tmp_path, capsys):
    table2, runs = load("table2"), Runs()
    command = ["--genotype", "DARTS_V2", "--out", str(tmp_path), "--seeds", "2",
               "--set", "epochs=5"]  # fmt: skip
    for expected in ([3, 0], [5, 1], [5, 4], [5, 5]):
        table2.main([*command, "--epochs-now", "3"], runs)
        told = capsys.readouterr().out
        for seed, done in enumerate(expected):
            assert f"seed{seed}: {done} of 5 epochs" in told
        assert (tmp_path / "table.md").exists() == (expected == [5, 5])
    whole = json.loads((tmp_path / "summary.json").read_text())
    assert whole["test_error_last"] == pytest.approx((0.1 / 5 + 0.2 / 5) / 2)
    assert all("--resume" in command for command in runs.commands)
    assert "seed=1" in runs.commands[-1] and "epochs=5" in runs.commands[-1]
    count = len(runs.commands)
    table2.main(command, runs)  # nothing is left to do
    assert len(runs.commands) == count


@pytest.mark.parametrize("wrong", [
    ["--genotype", "DARTS_V3"], ["--seeds", "0"], ["--set", "seed=3"],
    ["--epochs-now", "-3"],
])  # fmt: skip
def test_a_table_of_nothing_is_refused(wrong, load, tmp_path, capsys):
    command = ["--genotype", "DARTS_V2", "--out", str(tmp_path / "out"), *wrong]
    with pytest.raises(SystemExit) as ended:
        load("table2").main(command, None)
    assert ended.value.code == 2 and wrong[0] in capsys.readouterr().err


def test_a_table_holds_one_training(load, tmp_path, capsys):
    """Seeds that are finished would be taken for those of another cell or recipe."""
    table2, command = load("table2"), ["--out", str(tmp_path), "--seeds", "1"]
    table2.main([*command, "--genotype", "DARTS_V2", "--set", "epochs=2"], Runs())
    for changed in (["NSGANet", "epochs=2"], ["DARTS_V2", "epochs=3"]):
        with pytest.raises(SystemExit):
            table2.main([*command, "--genotype", changed[0], "--set", changed[1]], None)
        assert "holds another training" in capsys.readouterr().err


def test_a_seed_interrupted_at_its_end_is_tabulated_by_its_last_epoch(load, tmp_path):
    table2, runs, folder = load("table2"), Runs(), tmp_path / "seed0"
    command = ["--genotype", "DARTS_V2", "--out", str(tmp_path), "--seeds", "1",
               "--set", "epochs=5"]  # fmt: skip
    table2.main([*command, "--epochs-now", "4"], runs)

    def interrupted(command, deadline):
        line = {"epoch": 4, "test_error": 0.02, "seconds": 2}
        record.append(folder / "metrics.jsonl", line)
        return table2.INTERRUPTED  # the summary is still that of four epochs

    table2.main(command, interrupted)
    assert not (tmp_path / "summary.json").exists()
    table2.main(command, lambda *given: _end(folder))
    whole = json.loads((tmp_path / "summary.json").read_text())
    assert (whole["test_error_last"], whole["epochs"]) == (0.02, 5)


def _end(folder):
    summary = json.loads((folder / "summary.json").read_text())
    whole = summary | {"test_error_last": 0.02, "test_error_best": 0.02, "epochs": 5}
    record.write_json(folder / "summary.json", whole)
    return 0


def test_a_piece_that_is_over_starts_no_further_seed(load, tmp_path, capsys):
    table2, runs = load("table2"), Runs(deadline_after=2)
    command = ["--genotype", "DARTS_V2", "--out", str(tmp_path), "--set", "epochs=5"]
    table2.main([*command, "--minutes", "60"], runs)
    assert len(runs.commands) == 1
    assert "seed0: 2 of 5 epochs, test error 5.00 %" in capsys.readouterr().out
    table2.main([*command, "--minutes", "0"], runs)
    assert len(runs.commands) == 1


def test_a_run_that_fails_ends_the_piece_with_its_code(load, tmp_path):
    command = ["--genotype", "DARTS_V2", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        load("table2").main(command, lambda command, deadline: 2)
    assert stop.value.code == 2


LISTENER = """
import sys, time
try: print(flush=True); time.sleep(60)
except KeyboardInterrupt: print(flush=True)
try: time.sleep(0.5)  # it saves
except KeyboardInterrupt: sys.exit(1)
sys.exit(130)
"""


@pytest.fixture
def listener(load, monkeypatch):
    """table2, whose commands stop with a checkpoint where they are asked once."""
    table2, original = load("table2"), subprocess.Popen

    def start(command):
        process = original([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
        process.stdout.readline()  # it listens now
        return process

    monkeypatch.setattr(table2.subprocess, "Popen", start)
    return table2


def test_a_run_is_asked_to_stop_when_its_time_is_up(listener):
    assert listener.run_until([], listener.time.monotonic()) == 130


def test_a_run_that_is_asked_before_it_listens_is_no_failure(load):
    table2 = load("table2")
    command = ["retrain", "--genotype", "NONE"]  # which it would not come to
    assert table2.run_until(command, table2.time.monotonic()) == 130


def test_a_terminal_asks_a_run_to_stop_once(listener, monkeypatch):
    """Ctrl-C goes to all that runs in a terminal."""
    start, waited = listener.subprocess.Popen, []

    def interrupted(command):
        process = start(command)
        wait = process.wait

        def first_is_interrupted(timeout=None):
            if not waited:
                waited.append(timeout)
                process.send_signal(signal.SIGINT)
                process.stdout.readline()  # it has heard it
                raise KeyboardInterrupt
            return wait(timeout)

        process.wait = first_is_interrupted
        return process

    monkeypatch.setattr(listener.subprocess, "Popen", interrupted)
    assert listener.run_until([], None) == 130


def test_widths_bring_cells_to_equal_numbers_of_weights(load):
    channels, weights = load("methods").equal_channels(CELL, 5, 1, 54_000)
    config = NetworkConfig(channels=10, layers=5)
    assert channels == 10
    assert weights == count_params(CELL, config, image_channels=1) == 54_430


def test_random_cells_are_whole_and_follow_their_seed(load):
    methods = load("methods")
    one, other = methods.random_genotype(1), methods.random_genotype(2)
    assert one == methods.random_genotype(1) != other
    sources = [source for _, source in one.normal]
    for node in range(4):
        assert len({*sources[2 * node : 2 * node + 2]}) == 2
        assert max(sources[2 * node : 2 * node + 2]) < 2 + node


def test_errors_are_tabulated_by_cell(load):
    methods = load("methods")
    found = [
        methods.Found("a", seed, {"test_error_last": error, "params": 54_430,
                                  "seconds": 10}, [])
        for seed, error in enumerate([0.01, 0.02, 0.03])
    ]  # fmt: skip
    (row,) = methods.errors(found, {"a": 10})["rows"]
    assert row[:4] == ["a", 10, 54_430, "1.00, 2.00, 3.00"]
    assert row[4] == pytest.approx({"mean": 2.0, "spread": 1.0, "n": 3})
    assert row[5] == 30
