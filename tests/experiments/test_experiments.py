"""What the experiments reckon, without their runs."""

import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

from egnas_jax.cli.console import read_genotype
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import zoo
from egnas_jax.storage import records

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "experiments"
CELL = zoo["DARTS_V2"].genotype
SUMMARY = dict(
    genotype="text",
    params=2_580_000,
    multiply_adds=None,
    multiply_adds_convention="convolutions",
    search_seconds=21_600,
    test_images=10_000,
)


@pytest.fixture
def load(monkeypatch):
    """Imports a file of experiments/ as its own command does."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


class Runs:
    """Stands in for `egnas`: writes what it records, and may be cut short."""

    def __init__(self, deadline_after=None):
        self.commands, self.deadline_after = [], deadline_after

    def __call__(self, command, deadline):
        given = dict(zip(command, command[1:], strict=False))
        self.commands.append(command)
        folder = pathlib.Path(given["--out"])
        metrics = folder / "metrics.jsonl"
        kind, seed = re.fullmatch(r"(\D+)(\d+)", folder.name).groups()
        done = len(records.read(metrics)) if metrics.exists() else 0
        assert ("--resume" in command) == folder.exists()
        goal = int(given["--stop-after"])
        cut = self.deadline_after is not None and done + self.deadline_after < goal
        goal = done + self.deadline_after if cut else goal
        folder.mkdir(parents=True, exist_ok=True)
        for epoch in range(done, goal):
            accuracy = 0.5 + 0.1 * int(seed)
            error = 0.1 * (int(seed) + 1) / (epoch + 1) + (kind == "random") * 0.1
            own = (
                {"valid_accuracy": accuracy}
                if kind == "search"
                else {"test_error": error}
            )
            records.append(metrics, {"epoch": epoch, "seconds": 2, **own})
        if cut:
            return 130
        whole = {"seconds": 2.0 * goal, "epochs": goal, "genotype": CELL.format()}
        if kind == "search":
            records.write_text(folder / "genotype.json", CELL.to_json())
            whole |= {"valid_accuracy": accuracy, "early_stop": None}
        else:
            whole |= SUMMARY | {"test_error_last": error, "test_error_best": error}
        records.write_json(folder / "summary.json", whole)
        return 0


def call(table2, command, runs, *, whole):
    """A piece, which is the last one (`whole`) or not, as its exit code tells."""
    try:
        table2.main(command, runs)
    except SystemExit as ended:
        assert ended.code == 130 and not whole
    else:
        assert whole


def told_of(capsys):
    """Epochs of each run, as a piece tells them."""
    lines = re.findall(r"(\w+): (\d+) of \d+ epochs", capsys.readouterr().out)
    return {name: int(epochs) for name, epochs in lines}


def test_a_table_is_carried_over_pieces_of_epochs(load, tmp_path, capsys):
    """Two searches of 4 epochs, then two seeds of 5 for the best one's cell and for
    random cells: 28 epochs in pieces of 9."""
    table2, runs = load("table2"), Runs()
    command = [
        "--size",
        "tiny",
        "--out",
        str(tmp_path),
        "--searches",
        "2",
        "--set",
        "epochs=4",
        "--train",
        "epochs=5",
        "--seeds",
        "2",
        "--variant",
        "official",
    ]
    for expected in (
        [4, 4, 1, 0, 0, 0],
        [4, 4, 5, 5, 0, 0],
        [4, 4, 5, 5, 5, 4],
        [4, 4, 5, 5, 5, 5],
    ):
        call(table2, [*command, "--epochs-now", "9"], runs, whole=expected[-1] == 5)
        names = ["search0", "search1", "seed0", "seed1", "random0", "random1"]
        assert told_of(capsys) == dict(zip(names, expected, strict=True))
        assert (tmp_path / "table.md").exists() == (expected[-1] == 5)
    searched = [one for one in runs.commands if one[0] == "search"]
    assert {one[one.index("--variant") + 1] for one in searched} == {"official"}
    trained = [one for one in runs.commands if one[0] == "retrain"]
    # the second search had the higher validation accuracy
    assert str(tmp_path / "search1") in trained[0]
    assert "seed=1" in runs.commands[-1] and "epochs=5" in runs.commands[-1]
    found = json.loads((tmp_path / "table2.json").read_text())
    rows = {row[0]: row[1:] for row in found["rows"]}
    assert rows["found by EG-NAS"][0] == "2.00, 4.00"
    assert rows["random cells, one a seed"][1]["mean"] == pytest.approx(13)
    assert rows["found by EG-NAS"][3] == 0.25  # of a day
    # means that the report's text gives
    for name, error, weights in (("CIFAR-10", 2.735, 2.58), ("CIFAR-100", 17.91, 2.39)):
        row = rows[f"report, {name}"]
        assert row[1]["mean"] == pytest.approx(error) and row[1]["n"] == 4
        assert row[2:] == [pytest.approx(weights), 0.08]
    assert "(variant official)" in found["note"]
    assert "--variant official" in found["command"]
    assert "-10.00 to -10.00 points (95 %), better than" in found["note"]
    assert "digits" in found["note"] and "--searches 2" in found["command"]
    count = len(runs.commands)
    table2.main(command, runs)  # nothing is left to do
    assert len(runs.commands) == count


@pytest.mark.parametrize(
    "wrong, told",
    [
        (["--genotype", "DARTS_V3"], "DARTS_V3"),
        (["--genotype", ""], "genotype"),
        (["--genotype", "DARTS_V2", "--searches", "3"], "nothing is searched"),
        (["--genotype", "DARTS_V2", "--set", "epochs=3"], "nothing is searched"),
        (["--size", "tiny", "--preset", "cifar10"], "tiny is on digits"),
        (["--seeds", "0"], "--seeds: 0 is less than 1"),
        (["--searches", "0"], "--searches: 0 is less than 1"),
        (["--epochs-now", "-3"], "--epochs-now: -3 is less than 1"),
        (["--minutes", "nan"], "nan is no number of minutes"),
        (["--minutes", "-5"], "-5 is no number of minutes"),
        (["--set", "seed=3"], "--set: seeds are counted by --seeds"),
        (["--set", "epoch=3"], "epoch"),
        (["--train", "epoch=3"], "epoch"),
        (["--train", "data.path=x.npz"], "share the images"),
    ],
)
def test_a_table_of_nothing_is_refused(wrong, told, load, tmp_path, capsys):
    command = ["--size", "full", "--out", str(tmp_path / "out"), *wrong]
    with pytest.raises(SystemExit) as ended:
        load("table2").main(command, None)
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    # below the usage, which names all options
    assert told in capsys.readouterr().err.partition("error:")[2]


GIVEN = ["--size", "full", "--genotype", "DARTS_V2", "--train", "epochs=5"]


def test_each_data_set_has_a_record_of_its_own(load, tmp_path):
    table2, runs = load("table2"), Runs()
    command = [*GIVEN, "--seeds", "1", "--preset", "cifar100", "--out", str(tmp_path)]
    table2.main(command, runs)
    assert [one[one.index("--preset") + 1] for one in runs.commands] == ["cifar100"] * 2
    found = json.loads((tmp_path / "table2_cifar100.json").read_text())
    assert "Ours on CIFAR-100" in found["note"]
    assert "--preset cifar100" in found["command"]


@pytest.mark.parametrize("name, classes", [("cifar10", 10), ("cifar100", 100)])
def test_weights_are_counted_for_the_classes_of_the_data(
    name, classes, load, tmp_path, monkeypatch
):
    seen = []

    def channels(cell, network, image_channels, target):
        seen.append((network.num_classes, image_channels, target))
        return 36

    monkeypatch.setattr(load("methods"), "equal_channels", channels)
    command = [*GIVEN, "--seeds", "1", "--preset", name, "--out", str(tmp_path)]
    load("table2").main(command, Runs())
    weights = count_params(CELL, NetworkConfig(num_classes=classes))
    assert set(seen) == {(classes, 3, weights)}


def test_a_table_holds_one_training(load, tmp_path):
    """Seeds that are finished would be taken for those of another cell or recipe."""
    table2, command = load("table2"), ["--out", str(tmp_path), "--seeds", "1"]
    table2.main([*command, *GIVEN], Runs())
    for changed in (["--genotype", "NSGANet"], ["--train", "epochs=3"]):
        with pytest.raises(SystemExit, match="what another command made"):
            table2.main([*command, *GIVEN, *changed], None)


def test_random_cells_are_as_large_as_the_given_one(load, tmp_path):
    table2, runs = load("table2"), Runs()
    command = [
        "--size",
        "small",
        "--out",
        str(tmp_path),
        "--seeds",
        "3",
        "--genotype",
        "DARTS_V2",
        "--train",
        "epochs=1",
    ]
    (tmp_path / "cifar10-5000.npz").touch()  # whose images no run here reads
    table2.main(command, runs)
    weights = []
    for one in runs.commands:
        given = dict(pair.split("=") for pair in one if pair.startswith("network."))
        config = NetworkConfig(channels=int(given["network.channels"]), layers=5)
        cell = read_genotype(one[one.index("--genotype") + 1])
        weights.append(count_params(cell, config))
    assert len(weights) == 6 and len(set(weights[:3])) == 1
    # a width more or less of these cells is 15 % to 30 % of its weights
    assert all(abs(own / weights[0] - 1) < 0.15 for own in weights[3:])
    assert len(set(weights[3:])) > 1


def test_a_search_that_a_rule_ended_is_ended(load, tmp_path):
    pieces = load("pieces")
    job = pieces.Job(("search",), tmp_path, 9)
    records.append(tmp_path / "metrics.jsonl", {"valid_accuracy": 0.5, "seconds": 1})
    for summary, ended in (
        ({"epochs": 1, "early_stop": None}, False),
        ({"epochs": 1, "early_stop": 0}, True),
    ):
        records.write_json(tmp_path / "summary.json", summary)
        assert bool(pieces.summary_of(job)) is ended
        assert ("1 of 9 epochs (stopped early)" in pieces.progress([job])) is ended


def test_a_seed_interrupted_at_its_end_is_tabulated_by_its_last_epoch(load, tmp_path):
    table2, runs, folder = load("table2"), Runs(), tmp_path / "random0"
    command = ["--out", str(tmp_path), "--seeds", "1", *GIVEN]
    call(table2, [*command, "--epochs-now", "9"], runs, whole=False)

    def interrupted(command, deadline):
        line = {"epoch": 4, "test_error": 0.02, "seconds": 2}
        records.append(folder / "metrics.jsonl", line)
        return 130  # the summary is still that of four epochs

    call(table2, command, interrupted, whole=False)
    assert not (tmp_path / "summary.json").exists()
    table2.main(command, lambda *given: _end(folder))
    found = json.loads((tmp_path / "table2.json").read_text())
    assert found["rows"][1][1] == "2.00"


def _end(folder):
    summary = json.loads((folder / "summary.json").read_text())
    whole = summary | {"test_error_last": 0.02, "test_error_best": 0.02, "epochs": 5}
    records.write_json(folder / "summary.json", whole)
    return 0


def test_a_piece_that_is_over_starts_no_further_seed(load, tmp_path, capsys):
    table2, runs = load("table2"), Runs(deadline_after=2)
    command = ["--out", str(tmp_path), *GIVEN]
    call(table2, [*command, "--minutes", "60"], runs, whole=False)
    assert len(runs.commands) == 1
    assert "seed0: 2 of 5 epochs, test error 5.00 %" in capsys.readouterr().out
    call(table2, [*command, "--minutes", "0"], runs, whole=False)
    assert len(runs.commands) == 1


def test_a_run_that_fails_ends_the_piece_with_its_code(load, tmp_path):
    with pytest.raises(SystemExit) as stop:
        load("table2").main(["--out", str(tmp_path), *GIVEN], lambda *given: 2)
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
    """Pieces, whose commands stop with a checkpoint where they are asked once."""
    pieces, original = load("pieces"), subprocess.Popen

    def start(command, stdout):
        process = original([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
        process.stdout.readline()  # it listens now
        return process

    monkeypatch.setattr(pieces.subprocess, "Popen", start)
    return pieces


def test_a_run_is_asked_to_stop_when_its_time_is_up(listener):
    assert listener.run_until([], listener.time.monotonic()) == 130


def test_a_run_that_is_asked_before_it_listens_is_no_failure(load):
    pieces = load("pieces")
    command = ["retrain", "--genotype", "NONE"]  # which it would not come to
    assert pieces.run_until(command, pieces.time.monotonic()) == 130


@pytest.mark.parametrize("code", [130, 0, 254])
def test_ctrl_c_ends_the_piece_whatever_the_run_made_of_it(code, load, monkeypatch):
    """Goes to all that runs in a terminal; the run may lose it, or not listen yet."""
    pieces, waited = load("pieces"), []

    class Process:
        returncode = None

        def __init__(self, *words, **more):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def wait(self, timeout=None):
            waited.append(timeout)
            if len(waited) == 1:
                raise KeyboardInterrupt
            return code

    monkeypatch.setattr(pieces.subprocess, "Popen", Process)
    assert pieces.run_until([], None) == 130 and len(waited) == 2


def test_sigterm_asks_the_run_to_stop(listener):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        listener.listen()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert listener.run_until([], None) == 130
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_run_that_lost_the_first_word_is_asked_again(load, monkeypatch):
    pieces, original = load("pieces"), subprocess.Popen
    deaf = """
import time
try: print(flush=True); time.sleep(60)
except KeyboardInterrupt: pass
time.sleep(60)
"""

    def start(command, stdout):
        process = original([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    monkeypatch.setattr(pieces.subprocess, "Popen", start)
    monkeypatch.setattr(pieces, "PATIENCE", 0.3)
    assert pieces.run_until([], pieces.time.monotonic()) == 130


def test_widths_bring_cells_to_equal_numbers_of_weights(load):
    config = NetworkConfig(channels=3, layers=5)
    assert load("methods").equal_channels(CELL, config, 1, 54_000) == 10
    config = NetworkConfig(channels=10, layers=5)
    assert count_params(CELL, config, image_channels=1) == 54_430


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
        methods.Found(
            "a", seed, {"test_error_last": error, "params": 54_430, "seconds": 10}, []
        )
        for seed, error in enumerate([0.01, 0.02, 0.03])
    ]
    (row,) = methods.errors(found, {"a": 10})["rows"]
    assert row[:4] == ["a", 10, 54_430, "1.00, 2.00, 3.00"]
    assert row[4] == pytest.approx({"mean": 2.0, "spread": 1.0, "n": 3})
    assert row[5] == 30


def test_searches_are_tabulated_by_method(load):
    methods = load("methods")

    def run(method, seed, accuracies):
        lines = [
            {"valid_accuracy": one, "candidate_images": 64.0 * epoch}
            for epoch, one in enumerate(accuracies)
        ]
        summary = {"valid_accuracy": accuracies[-1], "seconds": 2.0, "genotype": "g"}
        return methods.Found(method, seed, summary, lines)

    found = [
        run("a", 0, [0.1, 0.2, 0.5]),
        run("a", 1, [0.2, 0.4, 0.7]),
        run("b", 0, [0.1, 0.1, 0.1]),
    ]
    made = methods.searches(found, (1, 2))
    assert made["columns"][2] == "after epochs 1, 2" and made["seconds"] == 6
    (name, last, after, images, seconds), other = made["rows"]
    assert (name, after, images, seconds) == ("a", "15.0, 30.0", 192, 4)
    assert last == pytest.approx({"mean": 60, "spread": 20 / 2**0.5, "n": 2})
    assert other[2] == "10.0, 10.0" and other[1]["spread"] is None
    assert methods.genotypes(found) == {
        "a, seed 0": "g",
        "a, seed 1": "g",
        "b, seed 0": "g",
    }


@pytest.mark.parametrize(
    "name, words, methods",
    [
        ("search_digits", [], 4),
        ("search_cifar10_small", ["--data-dir", "DIR"], 3),
    ],
)
def test_searches_side_by_side_become_a_record(
    name, words, methods, load, tmp_path, monkeypatch
):
    commands = []

    def egnas(command):
        commands.append(command)
        folder = pathlib.Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True)
        records.write_json(
            folder / "summary.json",
            {"valid_accuracy": 0.3, "seconds": 1.0, "genotype": CELL.format()},
        )
        for epoch in range(24):
            records.append(folder / "metrics.jsonl", {"valid_accuracy": epoch / 100})
        return 0

    monkeypatch.setattr(load("methods"), "egnas", egnas)
    (tmp_path / "cifar10-5000.npz").touch()  # whose images no run here reads
    load(name).main([*words, "--seeds", "2", "--out", str(tmp_path)])
    assert len(commands) == 2 * methods
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert len(found["rows"]) == methods and found["rows"][0][1]["n"] == 2
    assert found["rows"][0][2].startswith("0.0, ")
    assert "--seeds 2" in found["command"]
