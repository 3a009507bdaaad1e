"""A run and its data go on wherever they are moved to."""

import json
import shutil

import numpy as np
import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.storage import records

SEARCH = [
    *("search", "--space", "tiny", "--set", "epochs=2"),
    *tiny_search.words(tiny_search.SETTINGS),
]
NUM_IMAGES = 1438  # as many as digits has, so that the programs are those of digits


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


def write_npz(path, seed=0):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    images = rng.integers(0, 256, (NUM_IMAGES, 8, 8, 1), np.uint8)
    labels = np.arange(NUM_IMAGES) % 10
    np.savez(
        path,
        images=images,
        labels=labels,
        test_images=images[:30],
        test_labels=labels[:30],
    )
    return path


def digests(folder):
    return [line["digest"] for line in records.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search on an .npz, and the folder of both."""
    folder = tmp_path_factory.mktemp("before")
    data = write_npz(folder / "data" / "mine.npz")
    command = [*SEARCH, "--set", f"data.path={data}", "--out", str(folder / "run")]
    assert main(command) == 0
    return folder


@pytest.fixture
def moved(searched, tmp_path):
    """Copies of the run and of its data, while what it stored as its path is gone."""
    run = shutil.copytree(searched / "run", tmp_path / "copy")
    write_npz(tmp_path / "elsewhere" / "mine.npz")
    write_npz(tmp_path / "other" / "mine.npz", seed=1)
    stored = json.loads((run / "config.json").read_text())
    stored["data"]["path"] = "/gone/mine.npz"
    records.write_json(run / "config.json", stored)
    return tmp_path


def places(folder):
    """How the new place of the data is given, both ways."""
    return (
        ["--data-dir", str(folder / "elsewhere")],
        ["--set", f"data.path={folder / 'elsewhere' / 'mine.npz'}"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", [0, 1], ids=["data-dir", "data.path"])
def test_a_moved_run_is_verified_and_studied(way, moved, capsys):
    run, where = str(moved / "copy"), places(moved)[way]
    assert main(["verify", run, *where]) == 0
    assert "every digest is the same" in capsys.readouterr().out
    noise = ["noise", run, "--individuals", "3", "--batches", "2", "--batch-size", "16"]
    assert main([*noise, *where, "--out", str(moved / "noise")]) == 0


@pytest.mark.parametrize("way", [0, 1], ids=["data-dir", "data.path"])
def test_a_moved_run_goes_on_with_moved_data(way, searched, moved, capsys):
    run = moved / "copy"
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest)  # the second epoch is run again
    where = places(moved)[way]
    if way == 0:  # the path of the data is part of the configuration
        where = [*where, "--set", "data.path=/gone/mine.npz"]
    command = [*SEARCH, *where, "--out", str(run), "--resume"]
    assert main(command) == 0, capsys.readouterr().err
    assert digests(run) == digests(searched / "run")
    stored = json.loads((run / "config.json").read_text())
    assert stored["data"]["path"] == str(moved / "elsewhere" / "mine.npz")


def test_other_data_are_refused_wherever_they_lie(moved, capsys):
    run, other = str(moved / "copy"), moved / "other"
    for where in (["--data-dir", str(other)], ["--set", f"data.path={other}/mine.npz"]):
        for command in ("verify", "noise"):
            assert main([command, run, *where]) == 2
            assert "not those that data.digest names" in capsys.readouterr().err
    resumed = [*SEARCH, "--set", f"data.path={other}/mine.npz", "--out", run]
    assert main([*resumed, "--resume"]) == 2
    assert "another configuration: data.digest" in capsys.readouterr().err


def test_a_stored_place_that_is_gone_names_the_ways_out(moved, capsys):
    for command in ("verify", "noise"):
        assert main([command, str(moved / "copy")]) == 2
        said = capsys.readouterr().err
        assert "--data-dir" in said and "--set data.path=" in said
    for setting in ("epochs=3", "data.pad=0"):
        assert main(["verify", str(moved / "copy"), "--set", setting]) == 2
        assert "belongs to the run" in capsys.readouterr().err
    assert main(["verify", str(moved / "copy"), "--set", "data.pth=x"]) == 2
    assert "Did you mean data.path" in capsys.readouterr().err


@pytest.mark.parametrize(
    "epochs, advice",
    [(5, "--restore {run} --set epochs=5"), (1, "--stop-after 1")],
)
def test_another_number_of_epochs_names_the_way(epochs, advice, searched, capsys):
    run = searched / "run"
    data = ["--set", f"data.path={searched / 'data' / 'mine.npz'}"]
    command = [*SEARCH, *data, "--set", f"epochs={epochs}", "--out", str(run)]
    assert main([*command, "--resume"]) == 2
    assert advice.format(run=run) in capsys.readouterr().err


def test_other_settings_of_jax_are_said_and_recorded(moved, capsys, monkeypatch):
    run, where = moved / "copy", places(moved)[1]
    stored = json.loads((run / "environment.json").read_text())
    assert stored["jax"]["jax_enable_x64"] is False
    stored["jax"]["jax_default_matmul_precision"] = "float32"
    stored["flags"]["OPENBLAS_CORETYPE"] = "Nehalem"
    records.write_json(run / "environment.json", stored)
    for command in (
        ["verify", str(run), *where],
        [*SEARCH, *where, "--out", str(run), "--resume"],
    ):
        assert main(command) == 0
        said = capsys.readouterr().err
        assert "jax_default_matmul_precision: 'float32' -> None" in said
        assert "OPENBLAS_CORETYPE: 'Nehalem' -> " in said
