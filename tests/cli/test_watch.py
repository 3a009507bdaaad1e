"""What `egnas watch` shows of runs that other processes carry out."""

import contextlib
import io
import json
import os
import platform
import threading
import time

import pytest

from egnas_jax.cli import watch
from egnas_jax.cli.main import main
from egnas_jax.storage import records
from egnas_jax.storage.lock import OWNER


def begin(folder, epochs=3, *, running=True):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"epochs": epochs}))
    if running:
        owner = {"host": platform.node(), "pid": os.getpid(), "time": "now"}
        (folder / OWNER).write_text(json.dumps(owner))


def end_epoch(folder, epoch, **more):
    record = {
        "epoch": epoch,
        "train_loss": 1.5,
        "train_accuracy": 0.25,
        "valid_loss": 1.0,
        "valid_accuracy": 0.5,
        "seconds": 2.0,
    }
    records.append(folder / "metrics.jsonl", record | more)


def once(capsys, *paths):
    assert main(["watch", "--once", *map(str, paths)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_run_that_goes_on_is_shown_with_its_last_epoch(tmp_path, capsys):
    run = tmp_path / "run"
    begin(run)
    assert once(capsys, run) == [f"{run}: running, no epoch yet"]
    end_epoch(run, 0)
    (line,) = once(capsys, run)
    assert line == (
        f"{run}: running, epoch   1/3  train 1.500  25.0 %  valid 1.000  50.0 %  2.0 s"
    )


def test_a_run_without_a_process_is_done_or_stopped(tmp_path, capsys):
    stopped, done, early = (tmp_path / name for name in ("a", "b", "c"))
    for run in (stopped, done, early):
        begin(run, 2, running=False)
        end_epoch(run, 0, **({"early_stop": 0} if run == early else {}))
    end_epoch(done, 1)
    words = [line.split(": ")[1].split(",")[0] for line in once(capsys, tmp_path)]
    assert words == ["stopped", "done", "done"]


def test_a_process_that_was_killed_is_not_taken_for_a_running_one(tmp_path, capsys):
    run = tmp_path / "run"
    begin(run)
    owner = {"host": platform.node(), "pid": 2**22 + 1, "time": "now"}
    (run / OWNER).write_text(json.dumps(owner))
    assert once(capsys, run) == [f"{run}: stopped, no epoch yet"]
    (run / OWNER).write_text(json.dumps(owner | {"host": "another machine"}))
    assert once(capsys, run) == [f"{run}: running, no epoch yet"]


def test_a_retraining_is_shown_with_its_test_error(tmp_path, capsys):
    run = tmp_path / "run"
    begin(run, running=False)
    end_epoch(run, 0, test_error=0.125)
    assert "test error 12.50 %" in once(capsys, run)[0]


@contextlib.contextmanager
def following(path):
    """`egnas watch` in a thread, and what it has written to stderr and stdout.

    Not by capsys, which may lose what another thread writes while it reads.
    """
    with (
        contextlib.redirect_stderr(io.StringIO()) as err,
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        follower = threading.Thread(target=main, args=(["watch", str(path)],))
        follower.start()
        yield follower, err, out
        follower.join(timeout=60)
        assert not follower.is_alive()


def wait_for(text, stream):
    end = time.monotonic() + 60
    while text not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.01)


def test_epochs_are_shown_as_they_end_until_all_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.01)
    run = tmp_path / "run"
    begin(run)
    end_epoch(run, 0)
    with following(run) as (follower, err, out):
        wait_for("epoch   1/3", err)
        end_epoch(run, 1)
        wait_for("epoch   2/3", err)
        assert follower.is_alive()
        end_epoch(run, 2)
        (run / OWNER).unlink()
    shown = err.getvalue()
    assert [shown.count(f"epoch   {i}/3") for i in (1, 2, 3)] == [1, 1, 1]
    assert out.getvalue().startswith(f"{run}: done, epoch   3/3")


def test_the_next_seed_of_a_folder_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.01)
    begin(tmp_path / "seed0", 1, running=False)
    end_epoch(tmp_path / "seed0", 0)
    with following(tmp_path) as (follower, err, out):
        wait_for("seed0", err)
        begin(tmp_path / "seed1", 1)
        end_epoch(tmp_path / "seed1", 0)
        wait_for("seed1", err)
        assert follower.is_alive()
        monkeypatch.setattr(watch, "PATIENCE", 0.1)
        (tmp_path / "seed1" / OWNER).unlink()
    assert out.getvalue().count(": done") == 2


def test_a_look_that_fails_shows_no_epoch_twice(tmp_path, capsys):
    begin(tmp_path / "run")
    end_epoch(tmp_path / "run", 0)
    shown = {}
    state = watch.read_state(tmp_path / "run")
    for each in (state, state._replace(records=[], problem="stale"), state):
        watch._show_new(each, shown, None)
    assert capsys.readouterr().err.count("epoch   1/3") == 1


def test_it_looks_once_however_short_its_patience(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    begin(tmp_path / "seed0", running=False)
    end_epoch(tmp_path / "seed0", 0)
    assert main(["watch", str(tmp_path)]) == 0
    assert ": epoch" in capsys.readouterr().err


def test_it_ends_some_time_after_the_last_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.01)
    monkeypatch.setattr(watch, "PATIENCE", 0.05)
    for seed in (0, 1):
        begin(tmp_path / f"seed{seed}", running=False)
        end_epoch(tmp_path / f"seed{seed}", 0)
    assert main(["watch", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert [line.split(": epoch")[0] for line in shown.err.splitlines()] == [
        str(tmp_path / "seed0"),
        str(tmp_path / "seed1"),
    ]
    assert shown.out.count("stopped, epoch   1/3") == 2


@pytest.mark.parametrize("text", ['{"epoch": "x"}', '{"epoch": 0}', "no JSON", "[1]"])
def test_a_damaged_run_is_named_and_the_others_are_shown(tmp_path, capsys, text):
    damaged, whole = tmp_path / "a", tmp_path / "b"
    for run in (damaged, whole):
        begin(run, running=False)
    (damaged / "metrics.jsonl").write_text(text + "\n")
    end_epoch(whole, 0)
    lines = once(capsys, tmp_path)
    assert lines[0].startswith(f"{damaged}: stopped, its files were altered: ")
    assert "epoch   1/3" in lines[1]


def test_epochs_that_were_done_before_have_no_estimate(tmp_path, capsys, monkeypatch):
    begin(tmp_path / "run", running=False)
    for epoch in (0, 1):
        end_epoch(tmp_path / "run", epoch)
    monkeypatch.setattr(watch, "PATIENCE", 0.2)
    assert main(["watch", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert ["left" in line for line in lines] == [False, True]


@pytest.mark.parametrize("name, message", [("none", "does not exist"), ("", "no run")])
def test_a_folder_without_runs_is_refused(tmp_path, capsys, name, message):
    assert main(["watch", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
