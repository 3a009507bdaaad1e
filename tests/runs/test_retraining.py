"""A retraining from Python equals that of the command line, and may write nothing."""

import contextlib
import json
import os
import shutil
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
from egnas_jax.storage.trackers import TRACKERS, Tracker
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
    seen, steps = [], []
    result = retrain(
        cells,
        data=arrays,
        on_epoch=seen.append,
        on_steps=lambda done, total: steps.append((done, total)),
    )
    assert list(tmp_path.rglob("*")) == [] and result.folder is None
    assert seen == result.records
    assert [done for done, total in steps].count(steps[-1][1]) == len(seen)
    assert len({total for done, total in steps}) == 1
    loaded = load_network(command_run)
    assert without_time(result.records) == without_time(loaded.records)
    assert result.digest == loaded.digest == loaded.record["digest"]
    chex.assert_trees_all_equal(result.variables, loaded.variables)
    logits = [
        predict(
            make_logits(
                trained.network, trained.metadata.scale, trained.metadata.image_shape
            ),
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


def keeper_of(tracked):
    """A tracker that keeps its run and the records."""

    @contextlib.contextmanager
    def writer(run):
        tracked.append(run)
        yield tracked.append

    return writer


def test_ctrl_c_writes_a_checkpoint_and_resume_ends_the_same(
    cells, arrays, command_run, tmp_path, monkeypatch
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
    tracked = []
    monkeypatch.setitem(TRACKERS, "mlflow", Tracker(keeper_of(tracked), "json"))
    result = retrain(
        cells,
        settings=SETTINGS | {"mlflow": True},  # may differ from before
        data=arrays,
        out=out,
        resume=True,
        on_epoch=seen.append,
    )
    assert [record["epoch"] for record in seen] == [1]
    run, *sent = tracked
    assert run.first_epoch == 1 and run.settings["network.channels"] == 4
    assert sent == seen
    expected = records.read(command_run / "metrics.jsonl")
    assert without_time(result.records) == without_time(expected)
    assert load_network(out).digest == result.digest


@pytest.mark.slow
def test_a_retraining_restored_from_another_goes_on_bit_for_bit(
    cells, arrays, command_run, tmp_path
):
    origin, out = tmp_path / "origin", tmp_path / "fork"
    stopped = retrain(cells, data=arrays, out=origin, stop_after=1)
    fork = retrain(cells, data=arrays, out=out, restore=origin)
    expected = records.read(command_run / "metrics.jsonl")
    assert without_time(fork.records) == without_time(expected)
    stored = json.loads((out / "restored.json").read_text())
    assert stored == {"run": str(origin), "epoch": 1, "digest": stopped.digest}
    nowhere = retrain(cells, data=arrays, restore=origin)
    assert without_time(nowhere.records) == without_time(expected)
    moved = origin.rename(tmp_path / "moved")
    for restore in (None, moved):  # it is known by its digest
        again = retrain(cells, data=arrays, out=out, resume=True, restore=restore)
        assert again.digest == fork.digest
    with pytest.raises(ValueError, match="started from .*, not from"):
        retrain(cells, data=arrays, out=out, resume=True, restore=command_run)


@pytest.mark.slow
def test_losses_between_two_evaluations_are_taken_over(cells, arrays, tmp_path):
    settings = SETTINGS | {"evaluate_every": 2, "epochs": 3}
    first = retrain(cells, data=arrays, settings=settings, out=tmp_path / "first")
    longer = settings | {"epochs": 4}
    options = dict(data=arrays, restore=tmp_path / "first")
    records_of_longer = retrain(cells, settings=longer, **options).records
    assert [record["epoch"] for record in records_of_longer] == [0, 1, 2, 3]
    losses = [record["train_loss"] for record in records_of_longer]
    assert losses[:3] == [record["train_loss"] for record in first.records]
    assert all(losses)


@pytest.mark.parametrize("way", ["--data-dir", "data.path"])
def test_a_moved_retraining_is_evaluated_and_resumed(
    way, cells, command_run, tmp_path, capsys
):
    run = shutil.copytree(command_run, tmp_path / "run")
    stored = json.loads((run / "config.json").read_text())
    stored["data"]["path"] = "/gone/mine.npz"
    records.write_json(run / "config.json", stored)
    data = shutil.copytree(command_run.parent, tmp_path / "data") / "mine.npz"
    by_folder = way == "--data-dir"
    path = "/gone/mine.npz" if by_folder else data
    where = [way, str(data.parent)] if by_folder else ["--set", f"data.path={data}"]
    assert main(["evaluate", str(run), *where, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["data"]["own"] and result["test_error"] is not None
    assert result["recorded_test_error"] == result["test_error"]
    settings = SETTINGS | {"data.path": str(path)}
    data_dir = data.parent if by_folder else None
    options = dict(settings=settings, out=run, resume=True, data_dir=data_dir)
    again = retrain(cells, **options)
    assert again.config.data.path == str(data)
    assert again.digest == load_network(command_run).digest


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


def test_a_finished_run_is_trained_longer_by_restore(instant, cells, arrays, tmp_path):
    first, out = tmp_path / "first", tmp_path / "longer"
    retrain(cells, data=arrays, out=first)
    longer = SETTINGS | {"epochs": 5}
    with pytest.raises(ValueError, match=f"--restore {first} --set epochs=5"):
        retrain(cells, data=arrays, out=first, settings=longer, resume=True)
    options = dict(data=arrays, settings=longer, out=out)
    stopped = retrain(cells, **options, restore=first, stop_after=3)
    assert [record["epoch"] for record in stopped.records] == [0, 1, 2]
    shutil.rmtree(first)  # it is needed no more
    assert len(retrain(cells, **options, resume=True).records) == 5
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(ValueError, match="name it by --restore"):
        retrain(cells, **options, resume=True)


@pytest.mark.parametrize(
    "settings, stop_after, message",
    [
        ({"epochs": 4, "network.channels": 8}, None, "holds another network"),
        ({"epochs": 4, "batch_size": 16}, None, "no whole epochs of 15 steps"),
        ({"epochs": 4, "batch_size": 30}, None, "no whole epochs of 8 steps"),
        ({}, None, "has 2 epochs and this run will have 2"),
        ({"epochs": 1}, 1, "has 1 epochs and this run will have 1"),
    ],
)
def test_a_run_that_cannot_be_gone_on_with_is_refused(
    settings, stop_after, message, instant, cells, arrays, tmp_path
):
    retrain(cells, data=arrays, out=tmp_path / "first", stop_after=stop_after)
    options = dict(data=arrays, out=tmp_path / "out", restore=tmp_path / "first")
    with pytest.raises(ValueError, match=message):
        retrain(cells, settings=SETTINGS | settings, **options)
    assert not (tmp_path / "out").exists()


def test_other_cells_and_two_origins_are_refused(instant, cells, arrays, tmp_path):
    retrain(cells, data=arrays, out=tmp_path / "first")
    longer = SETTINGS | {"epochs": 4}
    other = cells.replace("max_pool_3x3", "avg_pool_3x3")
    with pytest.raises(ValueError, match="holds another network"):
        retrain(other, data=arrays, settings=longer, restore=tmp_path / "first")
    both = retrain_config(settings=longer, init_from=tmp_path / "first")
    with pytest.raises(ValueError, match="Leave one of the two out"):
        run_retraining(cells, both, data=arrays, restore=tmp_path / "first")


def test_initial_weights_that_were_moved_are_recognised(
    instant, cells, arrays, tmp_path
):
    first, out = tmp_path / "first", tmp_path / "out"
    retrain(cells, data=arrays, out=first)

    def start_from(folder, **options):
        config = retrain_config(settings=SETTINGS, init_from=folder)
        return run_retraining(cells, config, data=arrays, out=out, **options)

    start_from(first, stop_after=1)
    moved = first.rename(tmp_path / "moved")
    start_from(first, resume=True)  # gone, and not needed
    assert start_from(moved, resume=True).config.init_from == str(moved)
    other = tmp_path / "other"
    retrain(cells, data=arrays, out=other, settings=SETTINGS | {"seed": 1})
    with pytest.raises(ValueError, match="another configuration: init_from"):
        start_from(other, resume=True)


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
