"""A retraining learns, and resumes bit for bit wherever it was stopped."""

import signal

import numpy as np
import pytest

from egnas_jax.retrain import loop
from egnas_jax.retrain.input_pipeline import resident_pipeline
from egnas_jax.retrain.predict import predict
from egnas_jax.storage import records
from egnas_jax.training import interrupt
from egnas_jax.training.interrupt import Interrupted


def epoch_records(run):
    return records.read(run.folder / "metrics.jsonl")


def without_time(records_of_run):
    return [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in records_of_run
    ]


def train_from_start(run, stop_after=None):
    return loop.train(run, run.programs.init(), stop_after)


def train_from_checkpoint(run):
    return loop.train(run, loop.restore_newest(run)[0])


@pytest.fixture(scope="module")
def reference(tiny):
    """The tiny run, trained without interruption, and its final state."""
    run = tiny()
    return run, train_from_start(run)


@pytest.mark.slow
def test_training_reduces_loss_and_error(reference):
    lines = epoch_records(reference[0])
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    assert lines[-1]["test_error"] < 0.6  # chance 0.9
    assert [line["drop_path"] for line in lines] == [0, 0.05, 0.1, 0.2 * 3 / 4]


@pytest.mark.slow
def test_the_last_record_describes_the_final_weights(reference):
    run, state = reference
    logits = predict(run.programs.logits, state.variables, run.test.images)
    record = epoch_records(run)[-1]
    assert record["test_error"] == (logits.argmax(axis=1) != run.test.labels).mean()
    correct = np.take_along_axis(logits, run.test.labels[:, None], axis=1)
    assert record["test_accuracy_top5"] == ((logits > correct).sum(axis=1) < 5).mean()
    assert record["digest"] == loop.state_digest(state)


@pytest.mark.slow
def test_a_run_interrupted_within_an_epoch_ends_the_same(reference, tiny, monkeypatch):
    run, state = reference
    other, calls = tiny(), []

    class InterruptAtSecondCall(interrupt.InterruptFlag):
        def __enter__(self):
            return lambda: len(calls) == 2

        def __exit__(self, *error):
            return None

    original = loop.run_steps
    monkeypatch.setattr(
        loop, "run_steps", lambda *a: (calls.append(a), original(*a))[1]
    )
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "InterruptFlag", InterruptAtSecondCall)
        with pytest.raises(Interrupted):
            train_from_start(other)
    restored, _ = loop.restore_newest(other)
    assert int(restored.step) % other.pipeline.num_steps > 0  # within an epoch
    final = loop.train(other, restored)
    assert loop.state_digest(final) == loop.state_digest(state)
    assert without_time(epoch_records(other)) == without_time(epoch_records(run))


def test_a_signal_while_programs_compile_waits_for_no_checkpoint(tiny, monkeypatch):
    def compiling(*arguments):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal was held back")

    monkeypatch.setattr(loop, "run_steps", compiling)
    with pytest.raises(KeyboardInterrupt) as caught:
        train_from_start(tiny())
    assert not isinstance(caught.value, Interrupted)


@pytest.mark.slow
def test_calls_that_span_epochs_change_no_result(reference, tiny):
    run, state = reference
    other = tiny("evaluate_every=3", "steps_per_call=50")
    stopped = train_from_start(other, stop_after=1)
    assert int(stopped.step) == other.pipeline.num_steps
    final = train_from_checkpoint(other)
    assert loop.state_digest(final) == loop.state_digest(state)
    lines = epoch_records(other)
    assert [line["test_error"] is None for line in lines] == [True, True, False, False]
    expected = epoch_records(run)
    assert [x["train_loss"] for x in lines] == [x["train_loss"] for x in expected]
    assert lines[-1]["digest"] == expected[-1]["digest"]


@pytest.mark.slow
def test_streamed_images_give_the_same_run_and_resume_like_it(reference, tiny):
    run, state = reference
    other = tiny("stream=true")
    stopped = train_from_start(other, stop_after=1)
    other.pipeline.close()
    assert int(stopped.step) == other.pipeline.num_steps
    final = train_from_checkpoint(other)
    other.pipeline.close()
    assert loop.state_digest(final) == loop.state_digest(state)
    assert without_time(epoch_records(other)) == without_time(epoch_records(run))


@pytest.mark.slow
def test_an_epoch_shows_each_image_at_most_once(reference):
    run, _ = reference
    pipeline = resident_pipeline(run.test, 100, seed=3)
    assert pipeline.num_steps == 3
    (_, first), (_, second) = pipeline.load(0, 3, 4), pipeline.load(3, 3, 4)
    assert len(np.unique(first[:3])) == 300 and first.shape == (4, 100)
    assert np.any(first != second)
    # the same steps in a call that spans both epochs
    np.testing.assert_array_equal(pipeline.load(2, 2, 2)[1], [first[2], second[0]])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_reported_with_its_epoch(tiny):
    run = tiny("learning_rate=1e9", "clip_norm=1e30", "epochs=2")
    with pytest.raises(FloatingPointError, match="loss is .* in epoch 0.*none"):
        train_from_start(run)


def test_a_learning_rate_that_only_rises_is_noted(tiny):
    notes = []
    tiny("warmup=5", log=notes.append)
    assert any("warmup is 5 and epochs is 4" in note for note in notes)
    notes.clear()
    tiny("warmup=4", log=notes.append)
    assert not notes


def test_validation_images_are_not_trained_on(tiny):
    run = tiny("valid_share=0.25", "batch_size=64")
    pixels = run.pipeline.load(0, 1, 1)[0]
    total = len(run.valid.labels) + len(pixels.labels)
    assert total == 1797 - len(run.test.labels)
    assert len(run.valid.labels) == round(0.25 * total)
    train = {image.tobytes() for image in np.asarray(pixels.images)}
    assert not train & {image.tobytes() for image in run.valid.images}
