"""Which trackers a run has, and what they are told of its members and its epochs."""

import contextlib
import pathlib
from types import SimpleNamespace

import pytest

from egnas_jax.retrain.loop import num_recorded
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.tracking import end_with, tracked, with_trackers
from egnas_jax.storage.trackers import TRACKERS, Tracker


@pytest.fixture
def messages(monkeypatch):
    """What a tracker is told: its runs, the records, and how the runs ended."""
    messages = []

    @contextlib.contextmanager
    def writer(run):
        messages.append(run)
        try:
            yield messages.append
            messages.append("finished")
        except FloatingPointError:
            messages.append("failed")
            raise

    monkeypatch.setitem(TRACKERS, "mlflow", Tracker(writer, "json"))
    return messages


def config_with(**settings):
    return search_config("digits", settings=settings)


def test_only_the_trackers_that_are_named_are_told(messages, tmp_path):
    for config, count in ((config_with(), 0), (config_with(mlflow=True), 3)):
        messages.clear()
        with tracked(config, tmp_path, 4, print) as send:
            send({"epoch": 4})
        assert len(messages) == count
    run, record, ended = messages
    assert (run.folder, run.first_epoch) == (tmp_path, 4)
    assert run.settings["strategy.eta"] == config_with().strategy.eta
    assert record == {"epoch": 4} and ended == "finished"


def test_a_run_without_a_directory_is_not_tracked(messages):
    with tracked(config_with(mlflow=True), None, 0, print) as send:
        send({"epoch": 0})
    assert messages == []


@pytest.mark.parametrize(
    "error, ended", [(FloatingPointError("nan"), "failed"), (None, "finished")]
)
def test_a_member_of_a_batch_ends_its_trackers_with_its_own_error(
    messages, tmp_path, error, ended
):
    with contextlib.ExitStack() as batch:
        context = batch.enter_context(contextlib.ExitStack())
        context.enter_context(tracked(config_with(mlflow=True), tmp_path, 0, print))
        end_with(context, error)
        batch.callback(messages.append, "the batch ended")
    assert messages[1:] == (
        [ended, "the batch ended"] if error else ["the batch ended", ended]
    )


def test_epochs_that_a_resumed_retraining_records_again_are_told_first(messages):
    config = SimpleNamespace(epochs=20, evaluate_every=5)
    names = dict.fromkeys(TRACKERS, False) | {"mlflow": True}
    seen = []

    class Run(SimpleNamespace):
        def _replace(self, **changes):
            return Run(**{**vars(self), **changes})

    run = Run(
        config=config,
        folder=pathlib.Path("run"),
        pipeline=SimpleNamespace(num_steps=10),
        on_epoch=seen.append,
        log=print,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("egnas_jax.runs.tracking.as_dict", lambda config: vars(config))
        vars(config).update(names)
        first_epoch = num_recorded(run, step=70)
        with with_trackers(run, config, first_epoch) as tracked_run:
            tracked_run.on_epoch({"epoch": 5})
    assert messages[0].first_epoch == 5  # of the seven epochs, two were not evaluated
    assert messages[1] == {"epoch": 5} and seen == [{"epoch": 5}]
