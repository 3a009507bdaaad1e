"""A search in stages, on the toy supernet."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.search import loop
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.programs import make_programs
from egnas_jax.search.search_run import (
    HOST_FIELDS,
    SearchRun,
    SearchStage,
    beginning,
    in_stage,
)
from egnas_jax.search.state import SearchData, SearchHyperparams, SearchProblem
from egnas_jax.search.step import weight_step
from egnas_jax.search.valid_batches import next_valid_batch
from egnas_jax.storage import checkpoint, records
from egnas_jax.strategies.p_darts.config import PDARTSConfig
from egnas_jax.strategies.p_darts.strategy import p_darts
from egnas_jax.training import interrupt
from egnas_jax.training.sgd import SGD, learning_rate

SHAPE = (4, 4, 3)
CONFIG = PDARTSConfig(
    learning_rate=0.1,
    batch_size=7,
    warmup=0,
    stage_epochs="2,1,2",
    added_layers="0,1,2",
    skip_dropout="0.1,0.2,0",
)
SETTINGS = SGD(
    batch_size=10,
    learning_rate=0.1,
    learning_rate_min=0.01,
    momentum=0.9,
    weight_decay=3e-4,
    clip_norm=5.0,
    epochs=5,
)


@pytest.fixture(scope="module")
def data():
    """25 images of training and 25 of validation."""
    key_images, key_labels = jax.random.split(jax.random.key(0))
    images = jax.random.randint(key_images, (2, 25, *SHAPE), 0, 255).astype(jnp.uint8)
    labels = jax.random.randint(key_labels, (2, 25), 0, 3)
    scale = jnp.asarray(((0.5,) * 3, (0.25,) * 3), jnp.float32)
    return SearchData(*map(LabelledImages, images, labels), scale)


@pytest.fixture(scope="module")
def enter(toy_net, data):
    """(index, live) -> a stage of the search."""

    @functools.cache  # so that each stage compiles once
    def enter(index, live):
        planned = CONFIG.plan(toy_net.config, 5)[index]
        config = dataclasses.replace(planned.supernet, live=live)
        net = toy_net._replace(config=config)
        strategy = p_darts(net, planned.strategy)
        problem = SearchProblem(
            net=net,
            strategy=strategy,
            schedule=EpochSchedule(),
            augmentation=DataConfig(pad=1, flip=True),
            sgd=SETTINGS._replace(epochs=planned.epochs),
            valid_batch_size=7,
            stage=index,
        )
        numbers = jax.tree.map(np.float32, strategy.hyperparams)
        return SearchRun(
            problem=problem,
            programs=make_programs(problem, data),
            hyperparams=SearchHyperparams(
                seed=np.uint32(3),
                learning_rate=np.float32(0.1),
                strategy=numbers,
                epochs=np.int32(planned.epochs),
                first_epoch=np.int32(planned.first),
            ),
            image_shape=SHAPE,
            num_train=25,
            num_valid=25,
            steps_per_call=1,
            stage=SearchStage(
                index, planned.first, planned.first + planned.epochs, live
            ),
            enter=enter,
            all_epochs=5,
        )

    return enter


@pytest.fixture
def run(enter, tmp_path):
    """The first stage, which writes to a folder."""
    return enter(0, None)._replace(folder=tmp_path)


def searched(run, start=None, **options):
    return loop.search(run, start or beginning(run), **options)


def resumed(run):
    """The end of a run that goes on from its newest checkpoint."""
    progress, notes = loop.newest(run)
    assert not notes
    return loop.search(in_stage(run, progress.stage), progress)


def without_times(lines):
    return [line | {"seconds": 0} for line in lines]


@pytest.mark.slow
def test_stages_follow_one_another_and_a_resume_ends_the_same(run, tmp_path):
    whole = searched(run._replace(folder=None))
    assert [line["stage"] for line in whole.records] == [0, 0, 1, 2, 2]
    rates = [line["learning_rate"] for line in whole.records]
    two, one = SETTINGS._replace(epochs=2), SETTINGS._replace(epochs=1)
    expected = [(two, 0), (two, 1), (one, 0), (two, 0), (two, 1)]
    assert rates == [learning_rate(*pair) for pair in expected]
    dropout = [line["skip_dropout"] for line in whole.records]
    np.testing.assert_allclose(
        dropout, [0.1, 0.1 * np.exp(-0.2), 0.2, 0.0, 0.0], rtol=1e-6
    )
    for stop in (1, 2, 3):  # 2 and 3 are exactly between two stages
        part = run._replace(folder=tmp_path / str(stop))
        part.folder.mkdir()
        searched(part, stop_after=stop)
        end = resumed(part)
        assert without_times(end.records) == without_times(whole.records)
        assert end.stage == whole.stage
        assert loop.state_digest(end.state) == loop.state_digest(whole.state)


def test_a_stage_has_the_primitives_that_the_one_before_left(run):
    live = None
    for index, count in ((0, 7), (1, 5), (2, 3)):
        stage = run if index == 0 else run.enter(index, live)
        mixing = jax.tree.map(
            np.asarray, stage.programs.incumbent(beginning(stage).state)
        )
        for rows in mixing.primitives.values():
            assert set(np.count_nonzero(rows, axis=1)) == {count}
        if index < 2:
            live = stage.problem.strategy.prune(mixing)
            for edges, rows in zip(live, mixing.primitives.values(), strict=True):
                kept = [
                    np.argsort(row)[-len(e) :]
                    for e, row in zip(edges, rows, strict=True)
                ]
                assert [sorted(e) for e in kept] == [list(e) for e in edges]


@pytest.mark.slow
def test_dropout_acts_in_the_weight_steps(run, data):
    """In the first step, whose alpha does not depend on the rate of the weights."""
    state = beginning(run).state

    @jax.jit
    def weights_after(rate):
        strategy = run.problem.strategy._replace(skip_dropout=lambda state: rate)
        problem = run.problem._replace(strategy=strategy)
        step = weight_step(problem, data, run.hyperparams, state, jnp.arange(10))
        return step.params["kernel"]

    whole, dropped = (weights_after(jnp.float32(rate)) for rate in (0.0, 0.5))
    assert np.abs(dropped - whole).max() > 1e-3


def test_a_stage_draws_weights_and_alpha_of_its_own(run):
    first = beginning(run).state
    second = beginning(run.enter(1, None)).state
    assert int(second.epoch) == 2 and int(second.step) == 0
    assert not np.array_equal(first.params["kernel"], second.params["kernel"])
    assert not np.array_equal(
        first.strategy.alpha["normal"], second.strategy.alpha["normal"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("call", [5, 7])
def test_a_stage_that_is_interrupted_anywhere_ends_the_same(call, run):
    whole = searched(run._replace(folder=None))
    calls = iter(range(1, 100))
    with pytest.raises(interrupt.Interrupted):
        # called once after each of two steps, and once after the epoch
        searched(run, interrupted=lambda: next(calls) == call)
    assert without_times(resumed(run).records) == without_times(whole.records)


def test_a_checkpoint_names_its_stage_and_can_be_older_than_the_newest(run):
    run = run._replace(keep_checkpoints=9)
    searched(run)
    folder = run.folder / "checkpoints"
    found = [loop.restore(run, step) for step in checkpoint.steps(folder)]
    names = [(each.meta["epoch"], each.meta["stage"]["index"]) for each in found]
    assert names == [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2)]
    lives = [each.meta["stage"]["live"] for each in found]
    assert lives[0] is None and {len(edge) for edge in lives[2][0]} == {5}
    assert {len(edge) for edge in lives[4][1]} == {3}
    assert len(records.read(run.folder / "metrics.jsonl")) == 5


def test_a_later_stage_has_the_host_side_of_the_run(run, tmp_path):
    mine = {
        "steps_per_call": 3,
        "folder": tmp_path,
        "keep_checkpoints": 9,
        "on_epoch": lambda record: None,
        "on_steps": lambda done, total: None,
        "log": lambda text: None,
    }
    assert set(mine) == set(HOST_FIELDS)
    second = in_stage(run._replace(**mine), {"index": 1, "first": 2, "live": None})
    assert {name: getattr(second, name) for name in HOST_FIELDS} == mine
    assert (second.stage.index, second.first_epoch) == (1, 2)
    assert run.first_epoch == run._replace(stage=None).first_epoch == 0


def test_a_checkpoint_of_a_stage_that_begins_elsewhere_is_refused(run):
    name = {"index": 1, "first": 3, "live": None}
    with pytest.raises(ValueError, match="holds stage 2, which began with epoch 4;"):
        in_stage(run, name)


def test_validation_batches_run_through_all_images_before_one_comes_again(run, data):
    problem = run.problem
    state = beginning(run).state

    @jax.jit
    def batch(epoch, step):
        at = state.replace(epoch=epoch, step=step)
        key = jax.random.key(0)
        return next_valid_batch(problem, data, run.hyperparams, at, key).images

    def seen(epoch, steps):
        images = [np.asarray(batch(jnp.int32(epoch), jnp.int32(s))) for s in steps]
        return {image.tobytes() for part in images for image in part}

    assert len(seen(0, range(3))) == 21  # three batches of seven of 25 images
    assert len(seen(0, range(3, 6))) == 21
    assert seen(0, range(3)) != seen(0, range(3, 6))
    assert seen(0, range(3)) != seen(1, range(3))
