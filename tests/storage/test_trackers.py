"""What trackers of experiments get of a run, and that their failures cost no run."""

import json
import struct
import sys
import time

import pytest

from egnas_jax.storage.trackers import (
    TRACKERS,
    TrackedRun,
    Tracker,
    check_installed,
    tracking,
)

SETTINGS = {"seed": 3, "strategy.eta": 0.4, "data.path": None}


def record(epoch, loss=0.5):
    return {"epoch": epoch, "loss": loss, "genotype": "a cell", "sizes": [1, 2]}


def fail(note):
    pytest.fail(f"an unexpected note: {note}")


def write(name, folder, epochs, *, first=0, loss=0.5):
    run = TrackedRun(folder, first, SETTINGS)
    with tracking([name], run, fail) as send:
        for epoch in epochs:
            send(record(epoch, loss))


def test_tensorboard_gets_the_numbers_of_an_epoch(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    write("tensorboard", tmp_path, [0, 1])
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]
        found += [(v.tag, v.simple_value, event.step) for v in event.summary.value]
    assert found == [("loss", 0.5, 0), ("loss", 0.5, 1)]


@pytest.fixture
def client(tmp_path, monkeypatch):
    """MLflow's client of a store in a folder."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return mlflow.MlflowClient()


def mlflow_runs(client):
    experiment = client.get_experiment_by_name("egnas_jax")
    return client.search_runs([experiment.experiment_id])


@pytest.mark.slow
def test_mlflow_gets_settings_numbers_and_the_end(client, tmp_path):
    folder = tmp_path / "searches" / "seed3"
    folder.mkdir(parents=True)
    write("mlflow", folder, [0, 1])
    (run,) = mlflow_runs(client)
    assert run.info.run_name == "searches/seed3"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "seed": "3",
        "strategy.eta": "0.4",
        "data.path": "None",
    }
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.5), (1, 0.5)]
    assert run.data.metrics == {"loss": 0.5}


@pytest.mark.slow
def test_mlflow_goes_on_with_the_run_of_a_resumed_one(client, tmp_path):
    write("mlflow", tmp_path, [0])
    write("mlflow", tmp_path, [1], first=1, loss=0.25)
    (run,) = mlflow_runs(client)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(0, 0.5), (1, 0.25)]
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_mlflow_begins_anew_where_the_store_has_lost_the_run(client, tmp_path):
    (tmp_path / "mlflow.json").write_text('{"id": "0123456789abcdef"}')
    write("mlflow", tmp_path, [0])
    assert len(mlflow_runs(client)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "error, status", [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_mlflow_is_told_how_a_run_ended(client, tmp_path, error, status):
    run = TrackedRun(tmp_path, 0, SETTINGS)
    with pytest.raises(error), tracking(["mlflow"], run, fail):
        raise error
    (run,) = mlflow_runs(client)
    assert run.info.status == status


def wandb_messages(folder):
    """What Weights & Biases has written offline, by the format of its files."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content = path.read_bytes()[7:]  # behind the mark and the version
    messages = []
    while content:
        _, length, _ = struct.unpack("<IHB", content[:7])  # the sum, and the kind
        if len(content) < 7 + length:  # is being written
            break
        messages.append(pb.Record.FromString(content[7 : 7 + length]))
        content = content[7 + length :]
    return messages


def finished_wandb_messages(folder):
    """The same, once the process that writes them has written the end of the run."""
    for _ in range(600):
        messages = wandb_messages(folder)
        if any(message.HasField("exit") for message in messages):
            break
        time.sleep(0.1)
    return messages


@pytest.mark.slow
def test_wandb_writes_offline_what_an_epoch_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip("wandb")
    write("wandb", tmp_path, [0, 1])
    config, rows = {}, []
    for message in finished_wandb_messages(tmp_path):
        for part in (message.run.config, message.config):
            config |= {item.key: item.value_json for item in part.update}
        row = {i.nested_key[0]: i.value_json for i in message.history.item}
        rows += [(row["epoch"], row["loss"])] if row else []
    assert config["seed"] == "3" and config["strategy.eta"] == "0.4"
    assert rows == [("0", "0.5"), ("1", "0.5")]
    assert json.loads((tmp_path / "wandb.json").read_text())["id"]


class Broken:
    """A tracker that fails in one of three places."""

    def __init__(self, place):
        self.place = place
        self.sent = []

    def __call__(self, run):
        return self

    def __enter__(self):
        self.fail_in("beginning")
        return self.send

    def send(self, record):
        self.fail_in("sending")
        self.sent.append(record)

    def __exit__(self, *error):
        self.fail_in("ending")

    def fail_in(self, place):
        if place == self.place:
            raise OSError("the server is away")


@pytest.mark.parametrize("place", ["beginning", "sending", "ending"])
def test_a_tracker_that_fails_costs_no_run_and_no_other_tracker(
    tmp_path, monkeypatch, place
):
    broken, whole, notes = Broken(place), Broken(None), []
    monkeypatch.setitem(TRACKERS, "mlflow", Tracker(broken, "mlflow"))
    monkeypatch.setitem(TRACKERS, "wandb", Tracker(whole, "wandb"))
    names = ["mlflow", "wandb"]
    with tracking(names, TrackedRun(tmp_path, 0, {}), notes.append) as send:
        send(record(0))
        send(record(1))
    assert whole.sent == [record(0), record(1)]
    assert broken.sent == ([record(0), record(1)] if place == "ending" else [])
    assert notes == [
        "mlflow failed: OSError: the server is away. The run goes on without it, and "
        "metrics.jsonl holds its records."
    ]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, TRACKERS[name].package, None)
    with pytest.raises(ValueError, match=rf"pip install egnas-jax\[{name}\]"):
        check_installed([name])
