"""A retraining learns, and goes on bit for bit wherever it was left."""

import numpy as np
import pytest

from egnas_jax.retrain import loop
from egnas_jax.retrain.input_pipeline import resident_feed
from egnas_jax.retrain.predict import predict
from egnas_jax.runs import retrain
from egnas_jax.storage import records
from egnas_jax.training import interrupt
from egnas_jax.training.interrupt import Interrupted


def lines_of(run):
    return records.read(run.folder / "metrics.jsonl")


def without_time(lines):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def straight(run):
    return loop.train(run, run.programs.init())


@pytest.fixture(scope="module")
def reference(tiny):
    """The tiny run left alone, and its final state."""
    _, run, _ = tiny()
    return run, straight(run)


def test_it_learns(reference):
    lines = lines_of(reference[0])
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[-1]["train_loss"] < 0.7 * lines[0]["train_loss"]
    assert lines[-1]["test_error"] < 0.6  # chance 0.9
    assert [line["drop_path"] for line in lines] == [0, 0.05, 0.1, 0.2 * 3 / 4]


def test_the_figures_of_a_line_are_those_of_the_weights(reference):
    run, state = reference
    logits = predict(run.programs.logits, state.variables, run.test.images, 1000)
    errors = (logits.argmax(axis=1) != run.test.labels).mean()
    line = lines_of(run)[-1]
    assert line["test_error"] == errors
    own = np.take_along_axis(logits, run.test.labels[:, None], axis=1)
    assert line["test_accuracy_top5"] == ((logits > own).sum(axis=1) < 5).mean()
    assert line["digest"] == loop.state_digest(state)


def test_a_run_interrupted_within_an_epoch_ends_the_same(reference, tiny, monkeypatch):
    run, state = reference
    _, other, _ = tiny()
    calls = []

    class AtSecondCall(interrupt.InterruptFlag):
        def __enter__(self):
            return lambda: len(calls) == 2

        def __exit__(self, *error):
            return None

    original = loop.call
    monkeypatch.setattr(loop, "call", lambda *a: (calls.append(a), original(*a))[1])
    with monkeypatch.context() as patch:
        patch.setattr(loop, "InterruptFlag", AtSecondCall)
        with pytest.raises(Interrupted):
            straight(other)
    found, _ = loop.newest(other)
    assert int(found.step) % other.feed.num_steps > 0  # within an epoch
    final = loop.train(other, found)
    assert loop.state_digest(final) == loop.state_digest(state)
    assert without_time(lines_of(other)) == without_time(lines_of(run))


def test_calls_over_several_epochs_change_no_result(reference, tiny):
    run, state = reference
    _, other, _ = tiny("evaluate_every=3", "steps_per_call=50")
    stopped = loop.train(other, other.programs.init(), stop_after=1)
    assert int(stopped.step) == other.feed.num_steps
    final = loop.train(other, loop.newest(other)[0])
    assert loop.state_digest(final) == loop.state_digest(state)
    lines = lines_of(other)
    assert [line["test_error"] is None for line in lines] == [True, True, False, False]
    np.testing.assert_array_equal(
        [line["train_loss"] for line in lines],
        [line["train_loss"] for line in lines_of(run)],
    )
    assert lines[-1]["digest"] == lines_of(run)[-1]["digest"]


def test_streamed_images_give_the_same_run_and_go_on_like_it(reference, tiny):
    run, state = reference
    _, other, _ = tiny("stream=true")
    stopped = loop.train(other, other.programs.init(), stop_after=1)
    other.feed.close()
    assert int(stopped.step) == other.feed.num_steps
    final = loop.train(other, loop.newest(other)[0])
    other.feed.close()
    assert loop.state_digest(final) == loop.state_digest(state)
    assert without_time(lines_of(other)) == without_time(lines_of(run))


def test_every_step_sees_its_images_once_an_epoch(reference):
    run, _ = reference
    feed = resident_feed(run.test, 100, seed=3)
    assert feed.num_steps == 3
    (_, first), (_, second) = feed.chunk(0, 3, 4), feed.chunk(3, 3, 4)
    assert len(np.unique(first[:3])) == 300 and first.shape == (4, 100)
    assert np.any(first != second)
    # the same steps, cut differently
    np.testing.assert_array_equal(feed.chunk(2, 2, 2)[1], [first[2], second[0]])


def test_a_loss_that_is_not_finite_is_told_with_its_epoch(tiny):
    _, run, _ = tiny("learning_rate=1e9", "clip_norm=1e30", "epochs=2")
    with pytest.raises(FloatingPointError, match="loss is .* in epoch 0.*none"):
        straight(run)


def test_a_resumed_run_remembers_what_its_search_took(tiny):
    config, run, model = tiny()
    records.write_json(
        run.folder / "model.json", {**model._asdict(), "search_seconds": 9.5}
    )
    for told, expected in ((None, 9.5), (8.0, 8.0)):
        given = retrain.prepare(config, None, run.folder, run.report, told)
        assert given[-1] == model._replace(search_seconds=expected)


def test_a_rate_that_only_rises_is_told(tiny):
    said = []
    tiny("warmup=5", said=said)
    assert any("warmup is 5 and epochs 4" in line for line in said)
    said.clear()
    tiny("warmup=4", said=said)
    assert not said


def test_images_kept_for_validation_do_not_train(tiny):
    _, run, _ = tiny("valid_share=0.25", "batch_size=64")
    total = len(run.valid.labels) + run.feed.chunk(0, 1, 1)[0].labels.shape[0]
    assert total == 1797 - len(run.test.labels)
    assert len(run.valid.labels) == round(0.25 * total)
    train = {image.tobytes() for image in np.asarray(run.feed.chunk(0, 1, 1)[0].images)}
    valid = {image.tobytes() for image in run.valid.images}
    assert not train & valid
