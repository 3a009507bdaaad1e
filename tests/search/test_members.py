"""Searches side by side on the toy supernet: each as alone, and no other moves it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noting_method import noting

from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.search import loop, member_loop
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.member_epochs import filled_up, make_batch, run_epoch, stacked
from egnas_jax.search.member_loop import Engine, MemberEnd, on_host, search_members
from egnas_jax.search.members import Member, make_member_programs, state_of
from egnas_jax.search.programs import make_programs
from egnas_jax.search.search_run import Progress, SearchRun, beginning
from egnas_jax.search.state import SearchData, SearchHyperparams, SearchProblem
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.interrupt import Interrupted
from egnas_jax.training.sgd import SGD

SHAPE = (4, 4, 3)
WIDTH = 3
SGD_SETTINGS = SGD(
    batch_size=7,
    learning_rate=0.1,
    learning_rate_min=0.01,
    momentum=0.9,
    weight_decay=0.01,
    clip_norm=0.5,
    epochs=3,
)
# changes of SGD and the method's number of each search
CHANGES = (
    ({}, 0.25),
    ({"momentum": 0.3, "weight_decay": 0.1}, 0.5),
    ({"clip_norm": 0.05, "learning_rate": 0.2}, 0.25),
)


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, *SHAPE), dtype=np.uint8)
    return images, rng.integers(0, 3, 50, dtype=np.int32)


@pytest.fixture(scope="module")
def strategy():
    return noting()


@pytest.fixture(scope="module")
def make_member(toy_net, strategy):
    """(seed, changes of SGD, the method's number) -> a search with its own split."""

    def make(seed, changes, number=0.25, folder=None):
        problem = SearchProblem(
            net=toy_net,
            strategy=strategy,
            schedule=EpochSchedule(order="strategy_first", last_batch="keep"),
            augmentation=DataConfig(pad=1, flip=True),
            sgd=SGD_SETTINGS._replace(**changes),
            valid_batch_size=7,
        )
        hyperparams = SearchHyperparams(
            seed=np.uint32(seed),
            learning_rate=np.float32(0.1),
            strategy=np.float32(number),
            epochs=np.int32(3),
        )
        run = SearchRun(
            problem=problem,
            programs=None,
            hyperparams=hyperparams,
            image_shape=SHAPE,
            num_train=25,
            num_valid=25,
            steps_per_call=2,
            folder=folder,
        )
        rows = np.random.default_rng(seed).permutation(50).astype(np.int32)
        scale = np.float32([[0.5 + 0.01 * seed] * 3, [0.25] * 3])
        return Member(run, np.sort(rows[:25]), np.sort(rows[25:]), scale)

    return make


@pytest.fixture(scope="module")
def programs(make_member):
    """Programs of three searches, compiled at their first call and once."""
    run = make_member(0, {}).run
    return make_member_programs(run.problem, SHAPE)


@pytest.fixture(scope="module")
def engine(programs, pool):
    return Engine(tuple(map(jnp.asarray, pool)), programs, WIDTH)


@pytest.fixture
def members(make_member, tmp_path):
    """Three searches with directories."""
    made = []
    for seed, (changes, number) in enumerate(CHANGES):
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        made.append(make_member(seed, changes, number, folder))
    return made


def first_of(member):
    return MemberEnd(on_host(beginning(member.run)), [])


def searched(engine, members, last=3, **options):
    starts = [first_of(member) for member in members]
    return search_members(engine, members, starts, last, **options)


def resumed(engine, members):
    """The searches from their newest checkpoints, or from the beginning."""
    starts = []
    for member in members:
        newest, _ = loop.newest(member.run)
        progress = newest or beginning(member.run)
        metrics = member.run.folder / "metrics.jsonl"
        records.keep_before(metrics, int(progress.state.epoch))
        starts.append(MemberEnd(on_host(progress), records.read(metrics)))
    return search_members(engine, members, starts, 3)


def digests(ends):
    return [[line["digest"] for line in end.records] for end in ends]


@pytest.fixture(scope="module")
def undisturbed(engine, make_member):
    """How the three searches end without directories."""
    members = [make_member(s, *changes) for s, changes in enumerate(CHANGES)]
    return searched(engine, members)


def without_time(record):
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.mark.slow
def test_each_search_is_the_one_that_the_loop_runs_alone(
    undisturbed, make_member, pool
):
    """To rounding, in every epoch; with its own split, seed and numbers of SGD."""
    for seed, changes in list(enumerate(CHANGES))[1:]:
        member = make_member(seed, *changes)
        images, labels = map(jnp.asarray, pool)
        halves = (
            LabelledImages(images[rows], labels[rows])
            for rows in (member.train, member.valid)
        )
        data = SearchData(*halves, scale=jnp.asarray(member.scale))
        programs = make_programs(member.run.problem, data)
        run = member.run._replace(programs=programs)
        alone = loop.search(run, beginning(run))
        end = undisturbed[seed]
        for own, expected in zip(end.records, alone.records, strict=True):
            assert own.keys() == expected.keys()
            for name, value in expected.items():
                if isinstance(value, float) and name != "seconds":
                    np.testing.assert_allclose(own[name], value, rtol=1e-4, atol=1e-5)
                elif name not in ("seconds", "digest"):
                    assert own[name] == value
        chex.assert_trees_all_close(
            end.progress.state, jax.device_get(alone.state), rtol=1e-4, atol=1e-5
        )
    kernels = [end.progress.state.params["kernel"] for end in undisturbed]
    for other in kernels[1:]:
        assert np.max(np.abs(kernels[0] - other)) > 1e-3


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "clip_norm"])
def test_every_number_of_sgd_is_an_argument_of_the_programs(
    name, engine, make_member, undisturbed
):
    changed = make_member(0, {name: 0.2 * getattr(SGD_SETTINGS, name)})
    (end,) = searched(engine, [changed], last=1)
    moved = (
        end.progress.state.params["kernel"]
        - searched(engine, [make_member(0, {})], last=1)[0].progress.state.params[
            "kernel"
        ]
    )
    assert np.max(np.abs(moved)) > 1e-5


def only(engine, members, index, last=3):
    """One search in its own slot; copies of it are in the others."""
    ended = FloatingPointError("takes no part")
    starts = [first_of(member)._replace(error=ended) for member in members]
    starts[index] = starts[index]._replace(error=None)
    return search_members(engine, members, starts, last)[index]


def test_no_search_depends_on_the_others(engine, make_member, undisturbed):
    """Not on their order, their number or their values, bit for bit."""
    members = [make_member(s, *changes) for s, changes in enumerate(CHANGES)]
    backwards = searched(engine, members[::-1])
    assert digests(backwards)[1] == digests(undisturbed)[1]
    assert digests([only(engine, members, 2)])[0] == digests(undisturbed)[2]
    neighbour = make_member(9, {"learning_rate": 7.0}, 3.0)
    others = searched(engine, [members[0], neighbour, members[2]])
    assert digests(others)[::2] == digests(undisturbed)[::2]
    chex.assert_trees_all_equal(others[0].progress.state, undisturbed[0].progress.state)


def spoilt(end):
    """The end of an epoch with weights that are NaN."""
    state = end.progress.state
    kernel = np.full_like(state.params["kernel"], np.nan)
    state = state.replace(params={**state.params, "kernel": kernel})
    return end._replace(progress=Progress(state, {}))


def test_a_search_whose_loss_is_not_finite_ends_alone(engine, members, undisturbed):
    """After a good epoch; its checkpoint of that epoch stays."""
    notes, bad = [], members[1].run._replace(log=lambda text: notes.append(text))
    members[1] = members[1]._replace(run=bad)
    first = searched(engine, members, last=1)
    first[1] = spoilt(first[1])
    ends = search_members(engine, members, first, 3)
    assert isinstance(ends[1].error, FloatingPointError)
    assert "epoch 1; last good checkpoint: step" in str(ends[1].error)
    assert notes == [f"{bad.folder}: {ends[1].error}"]
    assert len(ends[1].records) == 1 == len(records.read(bad.folder / "metrics.jsonl"))
    assert loop.newest(bad)[0].state.epoch == 1
    assert [end.error for end in ends[::2]] == [None, None]
    assert digests(ends)[::2] == digests(undisturbed)[::2]


def test_an_interruption_saves_no_search_whose_loss_is_not_finite(engine, members):
    first = searched(engine, members, last=1)
    first[1] = spoilt(first[1])
    with pytest.raises(Interrupted):
        search_members(engine, members, first, 3, lambda: True)
    saved = [loop.newest(member.run)[0].state for member in members]
    assert [(int(s.epoch), int(s.step)) for s in saved] == [(1, 2), (1, 0), (1, 2)]
    assert np.all(np.isfinite(saved[1].params["kernel"]))


def test_the_directories_hold_what_the_searches_return(engine, members, undisturbed):
    ends = searched(engine, members)
    assert digests(ends) == digests(undisturbed)
    for member, end in zip(members, ends, strict=True):
        assert records.read(member.run.folder / "metrics.jsonl") == end.records
        newest, notes = loop.newest(member.run)
        assert not notes
        chex.assert_trees_all_equal(newest.state, end.progress.state)
    assert digests(search_members(None, members, ends, 3)) == digests(ends)


class KilledError(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize("writes", [1, pytest.param(4, marks=pytest.mark.slow), 5])
def test_a_batch_killed_between_two_checkpoints_ends_the_same(
    writes, engine, members, undisturbed, monkeypatch
):
    """With searches an epoch apart; and one with a record that has no checkpoint."""
    save, count = loop.save, []

    def dies(run, progress):
        count.append(run)
        if len(count) > writes:
            raise KilledError
        save(run, progress)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save", dies)
        with pytest.raises(KilledError):
            searched(engine, members)
    steps = [checkpoint.steps(m.run.folder / "checkpoints") for m in members]
    assert sorted(map(len, steps)) == {1: [0, 0, 1], 4: [1, 1, 2], 5: [1, 2, 2]}[writes]
    ends = resumed(engine, members)
    assert digests(ends) == digests(undisturbed)
    for member, end in zip(members, ends, strict=True):
        assert records.read(member.run.folder / "metrics.jsonl") == end.records


@pytest.mark.parametrize(
    "calls", [2, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4, 6))]
)
def test_a_batch_interrupted_anywhere_ends_the_same(
    calls, engine, members, undisturbed
):
    seen = []

    def interrupted():
        seen.append(None)
        return len(seen) >= calls

    with pytest.raises(Interrupted):
        searched(engine, members, interrupted=interrupted)
    for member in members:
        assert loop.newest(member.run)[0] is not None
    assert digests(resumed(engine, members)) == digests(undisturbed)


def test_searches_behind_catch_up_before_all_go_on(
    engine, members, undisturbed, monkeypatch
):
    ahead = only(engine, members, 1, last=2)
    starts = [first_of(members[0]), ahead, first_of(members[2])]
    sizes = []

    def noting_size(batch, *rest):
        sizes.append(len(batch.members))
        return run_epoch(batch, *rest)

    monkeypatch.setattr(member_loop, "run_epoch", noting_size)
    ends = search_members(engine, members, starts, 3)
    assert sizes == [2, 2, 3]
    assert digests(ends) == digests(undisturbed)


def test_seconds_are_shares_of_the_time_of_a_batch(engine, members, monkeypatch):
    times = iter([100.0, 106.0])
    monkeypatch.setattr("time.perf_counter", functools.partial(next, times))
    batch = make_batch(engine.programs, engine.images, dict(enumerate(members)), WIDTH)
    starts = [first_of(member).progress for member in members]
    _, ends = run_epoch(batch, stacked(batch, starts), [{}] * WIDTH)
    assert [end.record["seconds"] for end in ends] == [2.0] * WIDTH


def test_stacked_states_give_each_search_its_own(engine, members):
    batch = make_batch(
        engine.programs, engine.images, {0: members[0], 2: members[1]}, WIDTH
    )
    states = [first_of(member).progress.state for member in members[:2]]
    together = stacked(batch, [Progress(state, {}) for state in states])
    assert together.params["kernel"].shape[0] == WIDTH
    assert together.epoch.shape == together.step.shape == ()
    for slot, state in zip((0, 2), states, strict=True):
        chex.assert_trees_all_equal(state_of(together, slot), state)
    chex.assert_trees_all_equal(state_of(together, 1), states[0])  # the filler
    assert filled_up({1: "a", 3: "b"}, 4) == ["a", "a", "a", "b"]
