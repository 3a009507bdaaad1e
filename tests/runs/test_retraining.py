"""A retraining from Python equals that of the command line, and may write nothing."""

import json
import os
import signal
import tempfile

import chex
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax
from egnas_jax import load_network, retrain_config, run_retraining
from egnas_jax.cli.main import main
from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import load_dataset
from egnas_jax.retrain import loop
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.interrupt import Interrupted

SETTINGS = {
    "network.channels": 4,
    "network.layers": 3,
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 0.1,
}


def retrain(genotype, *, settings=SETTINGS, **options):
    return run_retraining(genotype, retrain_config(settings=settings), **options)


def without_time(records_of_run):
    return [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in records_of_run
    ]


@pytest.fixture(scope="module")
def arrays():
    """300 of the digits."""
    dataset = load_dataset(DataConfig())
    return dataset.images[:300], dataset.labels[:300]


@pytest.fixture(scope="module")
def command_run(cells, arrays, tmp_path_factory):
    """The run directory of `egnas retrain` on an .npz of the arrays."""
    folder = tmp_path_factory.mktemp("command")
    np.savez(folder / "mine.npz", images=arrays[0], labels=arrays[1])
    command = ["retrain", "--genotype", cells, "--out", str(folder / "run"), "--json"]
    settings = SETTINGS | {"data.path": folder / "mine.npz"}
    for path, value in settings.items():
        command += ["--set", f"{path}={value}"]
    assert main(command) == 0
    return folder / "run"


def test_without_a_directory_nothing_is_written_and_the_result_is_the_same(
    cells, arrays, command_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # read TMPDIR again
    seen = []
    result = retrain(cells, data=arrays, on_epoch=seen.append)
    assert list(tmp_path.rglob("*")) == [] and result.folder is None
    assert seen == result.records
    loaded = load_network(command_run)
    assert without_time(result.records) == without_time(loaded.records)
    assert result.digest == loaded.digest == loaded.record["digest"]
    chex.assert_trees_all_equal(result.variables, loaded.variables)
    logits = [
        predict(
            make_logits(trained.network, trained.metadata.scale),
            trained.variables,
            arrays[0][:70],
        )
        for trained in (result, loaded)
    ]
    np.testing.assert_array_equal(*logits)
    assert loaded.summary == json.loads((command_run / "summary.json").read_text())
    for trained in (result, loaded):
        assert trained.test_error_last == loaded.summary["test_error_last"]
        assert trained.test_error_best == loaded.summary["test_error_best"]


def test_ctrl_c_writes_a_checkpoint_and_resume_ends_the_same(
    cells, arrays, command_run, tmp_path
):
    out, notes, seen = tmp_path / "run", [], []

    def interrupt(record):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="a checkpoint was written"):
        retrain(cells, data=arrays, out=out, on_epoch=interrupt, log=notes.append)
    assert "Stopping at the next checkpoint" in notes[0]
    with pytest.raises(ValueError, match="holds a run already"):
        retrain(cells, data=arrays, out=out)
    other = arrays[0][::-1], arrays[1]
    with pytest.raises(ValueError, match="another configuration: data.digest"):
        retrain(cells, data=other, out=out, resume=True)
    result = retrain(cells, data=arrays, out=out, resume=True, on_epoch=seen.append)
    assert [record["epoch"] for record in seen] == [1]
    expected = records.read(command_run / "metrics.jsonl")
    assert without_time(result.records) == without_time(expected)
    assert load_network(out).digest == result.digest


@pytest.fixture
def instant(monkeypatch):
    """Training steps and evaluations that take no time and teach nothing."""
    monkeypatch.setattr(
        loop,
        "run_steps",
        lambda run, state, start, stop: state.replace(step=jnp.int32(stop)),
    )
    monkeypatch.setattr(
        loop, "predict", lambda logits, variables, images: np.zeros((len(images), 10))
    )


def test_sigterm_writes_a_checkpoint_too(instant, cells, arrays, tmp_path):
    def terminate(record):
        os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match="a checkpoint was written"):
        retrain(cells, data=arrays, out=out, on_epoch=terminate)
    assert checkpoint.steps(out / "checkpoints")


def test_ctrl_c_without_a_directory_ends_at_once(instant, cells, arrays):
    def interrupt(record):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        retrain(cells, data=arrays, on_epoch=interrupt)
    assert not isinstance(caught.value, Interrupted)


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("bad record"), "bad record"),
        (OSError("disk full"), "disk full. Every checkpoint so far is whole"),
    ],
)
def test_an_error_during_training_is_a_runtime_error(
    error, message, instant, cells, arrays, tmp_path
):
    def fail(record):
        raise error

    with pytest.raises(RuntimeError, match=message):
        retrain(cells, data=arrays, out=tmp_path / "run", on_epoch=fail)
    # the lock is free again
    retrain(cells, data=arrays, out=tmp_path / "run", resume=True)


def test_a_resumed_run_keeps_the_duration_of_its_search(
    instant, cells, arrays, tmp_path
):
    options = dict(data=arrays, out=tmp_path / "run")
    result = retrain(cells, **options, stop_after=1, search_seconds=9.5)
    assert len(result.records) == 1 and result.summary["search_seconds"] == 9.5
    for seconds, expected in ((None, 9.5), (8.0, 8.0)):
        result = retrain(cells, **options, resume=True, search_seconds=seconds)
        assert result.metadata.search_seconds == expected
        assert load_network(tmp_path / "run").metadata == result.metadata


def test_test_images_may_be_given(instant, cells, arrays):
    images, labels = arrays
    data = images[:200], labels[:200], images[200:], labels[200:]
    result = retrain(egnas_jax.Genotype.parse(cells), data=data)
    assert result.summary["test_images"] == 100


IMAGES, LABELS = np.zeros((50, 8, 8, 1), np.uint8), np.arange(50) % 10


@pytest.mark.parametrize(
    "options, message",
    [
        ({"data": (IMAGES, LABELS, IMAGES)}, "data holds 3 entries"),
        ({"data": (IMAGES / 255, LABELS)}, "data: `images` is of type float64"),
        ({"data": (IMAGES[..., 0], LABELS)}, "must be .N, H, W, C."),
        ({"data": (IMAGES, LABELS[:9])}, "data: 9 labels for 50 images"),
        ({"data": (IMAGES, LABELS), "data_dir": "."}, "data and data_dir were given"),
        ({"data": (IMAGES, LABELS)}, "batch_size is 64; allowed is 1 to 40"),
        ({"settings": {"data.path": "a.npz"}, "data": (IMAGES, LABELS)}, "'a.npz'"),
        ({"settings": {"data.pad": 8}, "data": (IMAGES, LABELS)}, "data.pad=8"),
        ({"settings": {"epochs": 2.5}}, "epochs takes a whole number, got 2.5"),
        ({"settings": {"epoch": 2}}, "Did you mean epochs"),
        ({"genotype": "DARTS_V3"}, "Did you mean DARTS_V2"),
        ({"resume": True}, "resume needs a run directory"),
        ({"stop_after": 0}, "stop_after is 0"),
    ],
)
def test_unusable_arguments_are_refused_and_nothing_is_written(
    options, message, cells, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        retrain(**{"genotype": cells, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_directory_stays_unwritten_when_the_data_are_refused(cells, tmp_path):
    with pytest.raises(ValueError, match="data: 9 labels for 50 images"):
        retrain(cells, data=(IMAGES, LABELS[:9]), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
