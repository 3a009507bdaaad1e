"""The command line: runs, resumes, and refuses, as a person would meet it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from egnas_jax import record
from egnas_jax.cli import main

TINY = [
    "--set", "supernet.channels=4", "--set", "supernet.layers=3",
    "--set", "epochs=3", "--set", "batch_size=128", "--set", "steps_per_call=2",
]  # fmt: skip
SMALL = [
    "--set", "strategy.population=4", "--set", "strategy.fitness_batch_size=64",
]  # fmt: skip


def digests(folder):
    return [line["digest"] for line in record.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="session")
def straight(tmp_path_factory):
    """A finished tiny search."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    assert main(["search", *TINY, *SMALL, "--out", str(folder)]) == 0
    return folder


def test_a_run_directory_holds_what_is_promised(straight, capsys):
    names = {path.name for path in straight.iterdir()}
    assert names >= {
        "config.json", "environment.json", "metrics.jsonl", "checkpoints",
        "genotype.json", "genotype.svg", "summary.json",
    }  # fmt: skip
    lines = record.read(straight / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert {
        "train_loss", "train_accuracy", "valid_loss", "valid_accuracy",
        "learning_rate", "seconds", "digest", "fitness",
    } <= set(lines[0])  # fmt: skip
    # warm-up lasts one epoch
    assert lines[0]["fitness"] is None and lines[1]["fitness"] is not None
    np.testing.assert_allclose(lines[1]["learning_rate"], 0.075, rtol=1e-6)
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["valid_accuracy"] == lines[-1]["valid_accuracy"]
    assert main(["derive", str(straight)]) == 0
    assert capsys.readouterr().out.strip() == summary["genotype"]


def test_a_run_that_was_stopped_and_resumed_is_the_same(straight, tmp_path):
    command = ["search", *TINY, *SMALL, "--out", str(tmp_path / "run")]
    assert main([*command, "--stop-after", "1"]) == 0
    assert main([*command, "--resume"]) == 0
    assert digests(tmp_path / "run") == digests(straight)


def start(folder, *more):
    command = [sys.executable, "-m", "egnas_jax", "search", *TINY, *SMALL]
    return subprocess.Popen(
        [*command, "--out", str(folder), *more],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=pathlib.Path(__file__).resolve().parents[1],
        env={**os.environ, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"},
    )


def wait_for_epoch(folder, number):
    deadline = time.monotonic() + 240
    while len(record.read(folder / "metrics.jsonl")) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_was_killed_ends_the_same(straight, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_epoch(folder, 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert main(["search", *TINY, *SMALL, "--out", str(folder), "--resume"]) == 0
    assert digests(folder) == digests(straight)


def test_ctrl_c_writes_a_checkpoint_and_leaves_with_130(straight, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_epoch(folder, 1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    # a machine fast enough to have ended the run before the signal is no failure
    if process.returncode != 0:
        assert process.returncode == 130, said
        assert "--resume" in said
        assert main(["search", *TINY, *SMALL, "--out", str(folder), "--resume"]) == 0
    assert digests(folder) == digests(straight)


def test_verify_replays_the_same_digests(straight, capsys):
    assert main(["verify", str(straight)]) == 0
    assert "same" in capsys.readouterr().out


def test_a_taken_directory_and_another_configuration_are_refused(straight, capsys):
    command = ["search", *TINY, *SMALL, "--out", str(straight)]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "epochs=4"]) == 2
    assert "epochs: 3 -> 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    "strategy",
    [
        ["--variant", "official", *SMALL],
        ["--strategy", "random_search", "--set", "strategy.candidates=4"],
        ["--strategy", "darts"],
    ],
)
def test_every_other_method_runs_from_images_to_a_genotype(strategy, tmp_path, capsys):
    command = ["search", *TINY, "--set", "epochs=2", "--out", str(tmp_path / "run")]
    assert main([*command, *strategy, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["genotype"].startswith("Genotype(normal=[(")
    assert 0 < summary["valid_accuracy"] <= 1


def test_a_nan_loss_names_the_epoch(tmp_path, capsys):
    command = ["search", *TINY, *SMALL, "--set", "learning_rate=1e30"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    assert "in epoch 0; last good checkpoint: none" in capsys.readouterr().err


BAD = {
    "preset": (["--preset", "digit"], "Did you mean digits"),
    "variant": (["--variant", "papr"], "Did you mean paper"),
    "strategy": (["--strategy", "dart"], "Did you mean darts"),
    "space": (["--space", "darts9"], "Did you mean darts"),
    "path": (["--set", "epoch=3"], "Did you mean epochs"),
    "type": (["--set", "epochs=three"], "'three'"),
    "range": (["--set", "epochs=0"], "epochs is 0"),
    "nan": (["--set", "learning_rate=nan"], "learning_rate is nan"),
    "population": (["--set", "strategy.population=1"], "population is 1"),
    "channels": (["--set", "supernet.partial_channels=3"], "divisible"),
    "seeds": (["--seeds", "0"], "--seeds is 0"),
    "batch": (["--set", "batch_size=9999"], "batch_size is 9999"),
    "no data directory": (["--preset", "cifar10", "--data-dir", "/no"], "not exist"),
    "no equals": (["--set", "epochs"], "PATH=VALUE"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_end_with_2_and_write_nothing(name, tmp_path, capsys):
    arguments, message = BAD[name]
    out = tmp_path / "run"
    assert main(["search", "--out", str(out), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3
    assert not out.exists()


def test_an_image_side_that_4_does_not_divide_is_refused(tmp_path, capsys):
    path = tmp_path / "own.npz"
    np.savez(path, images=np.zeros((20, 9, 8, 1), np.uint8), labels=np.arange(20) % 2)
    out = tmp_path / "run"
    assert main(["search", "--set", f"data.path={path}", "--out", str(out)]) == 2
    assert "divisible by 4" in capsys.readouterr().err
    assert not out.exists()


def test_a_directory_without_a_run_is_refused(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["search", "--out", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_draw_takes_names_and_text_and_never_runs_code(tmp_path, capsys):
    out = tmp_path / "cell.svg"
    assert main(["draw", "DARTS_V2", "--out", str(out)]) == 0
    assert out.read_text().lstrip().startswith("<")
    trap = f"Genotype(normal=open('{tmp_path / 'run'}', 'w'))"
    assert main(["draw", trap, "--out", str(out)]) == 2
    assert not (tmp_path / "run").exists()
    assert main(["draw", "DARTS_V9", "--out", str(out)]) == 2
    assert "DARTS_V2" in capsys.readouterr().err
