"""Several searches from Python: one after another, and as one program."""

import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_search
from small_methods import SLOW_TO_COMPILE, SMALL, settings_of

import egnas_jax as eg
from egnas_jax.nn import lowering
from egnas_jax.runs import searches, verify
from egnas_jax.runs.batch_members import set_up_members
from egnas_jax.runs.batchable import batchable_paths, check_batchable
from egnas_jax.runs.environment import place_of
from egnas_jax.runs.search_setup import search_data, set_up_search
from egnas_jax.runs.searches import run_names, run_searches, setting_labels
from egnas_jax.search.member_epochs import make_batch, stacked
from egnas_jax.search.members import make_member_programs, state_of
from egnas_jax.search.search_run import beginning, layout
from egnas_jax.settings import apply_settings
from egnas_jax.storage import records
from egnas_jax.training import out_of_memory

SETTINGS = {**tiny_search.SETTINGS, "epochs": 3, "strategy.warmup": 1}


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


@pytest.fixture(scope="module")
def base(space):
    return eg.search_config("digits", space=tiny_search.SPACE.name, settings=SETTINGS)


def with_each(base, *changes):
    return [apply_settings(base, each) for each in changes]


def digests(folder):
    return {
        str(path.relative_to(folder)): [line["digest"] for line in records.read(path)]
        for path in sorted(folder.rglob("metrics.jsonl"))
    }


# --- names and what can be batched


def test_directories_are_named_by_seed_and_setting(base):
    seeds = with_each(base, {"seed": 3}, {"seed": 4})
    assert run_names(seeds) == ["seed3", "seed4"]
    assert setting_labels(seeds) == ["", ""]
    swept = with_each(
        base,
        {"strategy.eta": 0.2, "momentum": 0.8},
        {"strategy.eta": 0.4, "keep_checkpoints": 1},
    )
    assert run_names(swept) == [
        "strategy.eta=0.2,momentum=0.8/seed0",
        "strategy.eta=0.4,momentum=0.9/seed0",
    ]
    paths = with_each(base, {"data.path": "a/b.npz"}, {"data.path": "c,d=.npz"})
    assert [name.split("/") for name in run_names(paths)] == [
        ["data.path=a%2Fb.npz", "seed0"],
        ["data.path=c%2Cd%3D.npz", "seed0"],
    ]


def test_searches_of_a_batch_may_differ_in_numbers_alone(base):
    paths = batchable_paths(base)
    numbers = {"zeta", "eta", "step", "momentum", "noise", "sigma_start", "sigma_floor"}
    assert {p for p in paths if p.startswith("strategy.")} == {
        f"strategy.{name}" for name in numbers
    }
    changes = {path: 0.5 for path in paths if path != "seed"} | {"seed": 9}
    check_batchable(with_each(base, {}, changes, {"keep_checkpoints": 5}))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"supernet.channels": 8}, r"supernet.channels differs .*\(4, 8\).* program"),
        ({"strategy.population": 8}, "strategy.population differs .* compiled program"),
        ({"strategy.sign": "centred"}, "strategy.sign differs"),
        ({"epochs": 5}, "epochs differs .* the calls of one host"),
        ({"schedule.order": "strategy_first"}, "schedule.order .* calls of one host"),
        ({"data.pad": 2}, "data.pad differs .* one data set"),
        ({"batch_size": 64, "data.pad": 2}, "^data.pad"),  # the first in the order
    ],
)
def test_the_first_setting_that_cannot_be_batched_is_named(base, change, message):
    with pytest.raises(ValueError, match=message):
        check_batchable(with_each(base, {}, change))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strategy": "p_darts"}, "p_darts searches in stages"),
        ({"settings": {"watch.eigenvalue": "exact"}}, "watch.eigenvalue is exact"),
        ({"settings": {"devices": 8}}, "devices is 8"),
        ({"settings": {"shards": 2}}, "shards is 2"),
        ({"settings": {"supernet.lowering": "fused"}}, "supernet.lowering is fused"),
    ],
)
def test_searches_that_no_program_serves_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_batchable([eg.search_config("digits", **options)] * 2)


def test_searches_of_several_methods_are_named_by_the_method():
    configs = [eg.search_config("digits", strategy=name) for name in ("egnas", "darts")]
    names = run_names(configs)
    assert names == ["strategy_name=egnas/seed0", "strategy_name=darts/seed0"]
    with_eta = eg.search_config("digits", settings={"strategy.eta": 0.9})
    assert run_names([*configs, with_eta]) == [
        "strategy.eta=0.4,strategy_name=egnas/seed0",
        "strategy_name=darts/seed0",
        "strategy.eta=0.9,strategy_name=egnas/seed0",
    ]
    with pytest.raises(ValueError, match="different strategies .egnas, darts."):
        check_batchable(configs)


def test_a_directory_name_that_no_file_system_holds_is_refused(tmp_path):
    """Two variants differ in so many settings."""
    configs = [eg.search_config("digits", variant=v) for v in ("paper", "official")]
    with pytest.raises(ValueError, match="may have 255 bytes, .* has 4.*Runs are"):
        run_searches(configs, tmp_path, batched="off")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes, options, message",
    [
        ([{}, {"strategy.population": 8}], {}, "strategy.population differs"),
        ([{}], {"batched": 0}, "batched is 0, but must be"),
        ([{}], {"batched": True}, "batched is True"),
        ([{}], {"batched": "gpu"}, "batched is 'gpu'"),
        ([{"seed": 1}, {"seed": 2}, {"seed": 1}], {}, "Runs 1 and 3 have the same"),
        ([{"seed": 1}, {"seed": 1}], {"batched": "off"}, "1 and 2 have the same"),
        ([], {}, "no configuration"),
        ([{}, {"seed": 1}], {"resume": True, "batched": -1}, "batched is -1"),
        ([{}, {"seed": 1}], {"stop_after": 0}, "stop_after is 0"),
        ([{}, {"seed": 1}], {"restores": ["a"]}, "restores has 1 entries for 2"),
        ([{}, {"seed": 1}], {"restores": [None, "a"]}, "a'? holds no run"),
        ([{}, {"seed": 1}], {"out": ["a"]}, "out has 1 entries for 2"),
        ([{}, {"seed": 1}], {"out": ["a", "a"]}, "1 and 2 have the same directory, a"),
        ([{}, {"seed": 1}], {"out": ["a", "b/../a"]}, "1 and 2 have the same director"),
        ([{"batch_size": 1000}, {"batch_size": 1000, "seed": 1}], {}, "batch_size is"),
    ],
)
def test_unusable_arguments_are_refused_and_nothing_is_written(
    changes, options, message, base, tmp_path
):
    configs = with_each(base, *changes)
    options = {"batched": "on", "out": tmp_path / "out", **options}
    with pytest.raises(ValueError, match=message):
        run_searches(configs, **options)
    assert not list(tmp_path.iterdir())


def test_a_taken_directory_is_refused_before_any_search(base, tmp_path):
    taken = tmp_path / "seed1"
    taken.mkdir()
    (taken / "config.json").write_text("{}")
    configs = with_each(base, {"seed": 0}, {"seed": 1})
    for batched in ("on", "off"):
        with pytest.raises(ValueError, match="seed1 holds a run already"):
            run_searches(configs, tmp_path, batched=batched)
    with pytest.raises(ValueError, match="seed1 is the directory of a run"):
        run_searches(configs, taken)
    assert [path.name for path in tmp_path.iterdir()] == ["seed1"]
    assert [path.name for path in taken.iterdir()] == ["config.json"]


@pytest.mark.parametrize("batched", ["off", 3, "on"])
def test_runs_go_on_in_batches_of_the_size_they_began_in(batched, base, tmp_path):
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        for name in ("config", "environment"):
            path = tmp_path / f"seed{seed}" / f"{name}.json"
            path.write_text(json.dumps({"batch": {"members": 2, "position": 1 - seed}}))
    configs = with_each(base, *({"seed": seed} for seed in range(5)))
    assert place_of(tmp_path / "seed0") == (2, 1, True)
    assert place_of(tmp_path) == (1, 0, False)
    # five searches in batches of two at most are batches of 2, 2 and 1
    with pytest.raises(ValueError, match="began in batches of 2.*--batched 2"):
        run_searches(configs, tmp_path, batched=batched, resume=True)
    with pytest.raises(ValueError, match="seed0 began at another position"):
        run_searches(configs, tmp_path, batched=2, resume=True)


# --- the data of the members


def test_each_search_has_the_split_that_it_has_alone(base):
    """Its images, in its order, and its scale; images held out by the seed as well."""
    configs = with_each(base, {"seed": 0}, {"seed": 5}, {"seed": 0, "momentum": 0.5})
    setup = set_up_members(configs, [None] * 3, {})
    images, labels = setup.images
    assert len(labels) == 2 * 1438  # two seeds, and two pools
    for config, member, own in zip(configs, setup.members, setup.setups, strict=True):
        alone = search_data(config)
        for part, rows in ((alone.train, member.train), (alone.valid, member.valid)):
            np.testing.assert_array_equal(images[rows], part.images)
            np.testing.assert_array_equal(labels[rows], part.labels)
        np.testing.assert_array_equal(member.scale, alone.scale)
        assert own.config == set_up_search(config).config
        assert member.run.problem.sgd.momentum == config.momentum


def test_images_that_searches_share_are_kept_once(base):
    rng = np.random.default_rng(0)
    arrays = (rng.integers(0, 256, (700, 8, 8, 1), np.uint8), np.arange(700) % 10)
    configs = with_each(base, {"seed": 0}, {"seed": 5})
    whole = set_up_members(configs, [None] * 2, {"data": (*arrays, *arrays)})
    assert len(whole.images[1]) == 700
    assert not np.array_equal(*(member.train for member in whole.members))
    held_out = set_up_members(configs, [None] * 2, {"data": arrays})
    assert len(held_out.images[1]) == 2 * 560


# --- programs


def lowered(config, name, width):
    setup = set_up_members([config], [None], {})
    run = setup.setups[0].run
    programs = make_member_programs(run.problem, run.image_shape)
    batch = make_batch(programs, setup.images, {0: setup.members[0]}, width)
    shapes = layout(run)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *leaf.shape), leaf.dtype), shapes
    ).replace(epoch=shapes.epoch, step=shapes.step)
    span = (jax.ShapeDtypeStruct((), jnp.int32),) * 2
    arguments = batch.data, batch.hyperparams, state, *([span] * (name == "train"))
    return getattr(programs, name).lower(*arguments).as_text()


@pytest.mark.parametrize(
    "name",
    [
        "train",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("evolve", "validate")),
    ],
)
def test_eight_searches_compile_as_one_does(name, base):
    """The programs grow by few lines, and have no grouped convolution on any backend.

    On a GPU the stem of one search is a convolution, which eight would make grouped.
    """
    config = apply_settings(base, {"supernet.lowering": "shifted"})
    jax.clear_caches()  # inner functions keep the backend that they were traced for
    with lowering.assume_backend("gpu"):
        one, eight = (lowered(config, name, width) for width in (1, 8))
    jax.clear_caches()
    assert len(eight.splitlines()) <= 1.05 * len(one.splitlines())
    for text in (one, eight):
        assert len(text) > 10_000
        assert "stablehlo.convolution" not in text


def test_the_memory_is_divided_among_the_searches(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 2**33}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert out_of_memory.free_bytes() == 2**33
    with out_of_memory.memory_shared_by(8):
        assert out_of_memory.free_bytes() == 2**30
    assert out_of_memory.free_bytes() == 2**33


def test_auto_runs_one_after_another_on_a_cpu_and_batches_elsewhere(
    base, tmp_path, monkeypatch
):
    ways, notes = [], []

    def way(name):
        def run(call, batched=None):
            ways.append((name, batched))
            return [searches.Ending(None)] * len(call.configs), 1

        return run

    monkeypatch.setattr(searches, "_one_by_one", way("alone"))
    monkeypatch.setattr(searches, "_batches", way("batch"))
    configs = with_each(base, {"seed": 0}, {"seed": 1})
    run_searches(configs)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run_searches(configs)
    run_searches(configs[:1])
    unlike = with_each(base, {}, {"strategy.population": 8})
    run_searches(unlike, log=notes.append)
    run_searches(configs * 2, batched=3)
    assert ways == [
        *(("alone", None), ("batch", None), ("alone", None), ("alone", None)),
        ("batch", 2),
    ]
    assert len(notes) == 1 and "strategy.population differs" in notes[0]


# --- whole searches


@pytest.fixture(scope="module")
def swept(base, tmp_path_factory):
    """Five searches in batches of three, and their directory."""
    configs = with_each(
        base,
        *({"seed": s, "strategy.eta": eta} for eta in (0.2, 0.4) for s in (0, 1)),
        {"seed": 2, "strategy.eta": 0.2},
    )
    out = tmp_path_factory.mktemp("swept")
    seen = []
    found = run_searches(
        configs, out, batched=4, on_epoch=lambda i, record: seen.append((i, record))
    )
    return configs, out, found, seen


@pytest.mark.slow
def test_every_search_of_a_batch_is_an_ordinary_run(swept):
    configs, out, found, seen = swept
    assert found.width == 3 and not found.errors
    assert [index for index, _ in seen] == [0, 1, 2] * 3 + [3, 4] * 3
    for index, (config, result) in enumerate(zip(configs, found.results, strict=True)):
        assert result.folder == out / run_names(configs)[index]
        again = eg.load_search(result.folder)
        assert again.genotype == result.genotype
        assert again.summary == result.summary
        assert again.config.seed == config.seed
        assert again.records == [record for i, record in seen if i == index]
        chex.assert_trees_all_equal(again.state, result.state)
        names = {path.name for path in result.folder.iterdir()}
        assert {"genotype.json", "genotype.svg", "summary.json", "checkpoints"} <= names
        stored = records.read_object(result.folder / "environment.json")["batch"]
        assert (stored["members"], stored["position"]) == (3, index % 3)
        assert stored["runs"][stored["position"]] == str(result.folder)
        assert len(stored["runs"]) == (3 if index < 3 else 2)


@pytest.mark.slow
def test_verify_replays_a_search_in_a_batch(swept, tmp_path, monkeypatch):
    """With the programs of a batch, which may round otherwise than those of one."""
    found = swept[2]
    compiled, widths, notes = verify.compiled_programs, [], []

    def noted(setup, shape, *more):
        widths.append(shape.width)
        return compiled(setup, shape, *more)

    def verified(folder):
        return verify.verify_run(
            eg.load_search(folder).config,
            folder,
            data_dir=None,
            from_start=True,
            on_epoch=lambda record: None,
            log=notes.append,
        )

    monkeypatch.setattr(verify, "compiled_programs", noted)
    for index in (2, 3):  # the last of a batch, and the first of another
        assert verified(found.results[index].folder) == (0, 2, ())
    assert widths == [3, 3] and not notes
    changed = shutil.copytree(found.results[3].folder, tmp_path / "changed")
    metrics = changed / "metrics.jsonl"
    digest = found.results[3].records[1]["digest"]
    metrics.write_text(metrics.read_text().replace(digest, digest[::-1]))
    message = f"epoch 1: {digest[::-1][:12]} was recorded, {digest[:12]} came out"
    assert verified(changed) == (0, 2, (message,))


@pytest.mark.slow
def test_stopped_searches_resume_to_the_same_digests(swept, tmp_path):
    configs, out, _, _ = swept
    run_searches(configs, tmp_path, batched=4, stop_after=1)
    notes = []
    found = run_searches(
        configs, tmp_path, batched="auto", resume=True, log=notes.append
    )
    assert found.width == 3 and not notes
    assert digests(tmp_path) == digests(out)
    (note,) = {note for note in _resume_alone(configs[0], tmp_path)}
    assert "batch.members: 3 -> 1" in note


def _resume_alone(config, out):
    notes = []
    folder = out / "strategy.eta=0.2" / "seed0"
    eg.run_search(config, out=folder, resume=True, log=notes.append)
    return notes


@pytest.mark.slow
def test_searches_of_a_batch_fork_from_other_runs(swept, tmp_path):
    """Each from its own, in directories of any name; and two from one."""
    configs, out, found, _ = swept
    run_searches(configs, tmp_path / "first", batched=4, stop_after=1)
    first = [tmp_path / "first" / name for name in run_names(configs)]
    folders, notes = [tmp_path / f"fork{i}" for i in range(len(configs))], []
    options = dict(batched=4, log=notes.append)
    forks = run_searches(configs, folders, restores=first, stop_after=2, **options)
    assert [len(result.records) for result in forks.results] == [2] * 5
    forks = run_searches(configs, folders, resume=True, **options)
    assert not notes
    for fork, expected, folder, origin in zip(
        forks.results, found.results, folders, first, strict=True
    ):
        names = [[line["digest"] for line in each.records] for each in (fork, expected)]
        assert names[0] == names[1]
        assert records.read_object(folder / "restored.json")["run"] == str(origin)
    nowhere = run_searches(configs, batched=4, restores=[first[0]] * 5)
    states = [result.records[0] for result in nowhere.results]
    assert states == states[:1] * 5 and len(nowhere.results[4].records) == 3
    assert nowhere.results[0].records[-1] == {
        **found.results[0].records[-1],
        "seconds": nowhere.results[0].records[-1]["seconds"],
    }


@pytest.mark.slow
def test_one_after_another_goes_on_after_a_search_that_failed(base, tmp_path):
    # as many as a batch of `swept` has, whose programs serve
    rates = 1e30, 0.1, 0.2
    configs = with_each(base, *({"learning_rate": rate} for rate in rates))
    for batched in ("off", "on"):
        found = run_searches(configs, tmp_path / batched, batched=batched)
        assert list(found.errors) == [0] and found.results[0] is None
        assert "loss is nan in epoch 0" in str(found.errors[0]).lower()
        assert found.results[1].genotype and found.results[2].genotype
        failed = tmp_path / batched / "learning_rate=1e+30".replace("+", "%2B")
        assert not (failed / "seed0" / "summary.json").exists()
        assert (failed / "seed0" / "config.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.longest if name in SLOW_TO_COMPILE else [])
        for name in sorted(SMALL)
        if name != "p_darts"  # which has stages
    ],
)
def test_a_search_of_a_batch_is_the_same_alone_for_every_method(name):
    """After an epoch, to rounding; the incumbent too where both chose the same cell.

    The one with a seed and numbers of its own stands for all three.
    """
    settings = tiny_search.OF_ANY_METHOD | settings_of(name) | {"epochs": 1}
    base = eg.search_config(
        "digits", strategy=name, space=tiny_search.SPACE.name, settings=settings
    )
    numbers = [path for path in batchable_paths(base) if path.startswith("strategy.")]
    changed = {path: 0.3 for path in numbers[:2]}
    configs = with_each(base, {"seed": 0}, {"seed": 1, **changed}, {"seed": 2})
    found = run_searches(configs, batched="on")
    (own,), (alone,) = found.results[1].records, eg.run_search(configs[1]).records
    assert own.keys() == alone.keys()
    np.testing.assert_allclose(own["train_loss"], alone["train_loss"], rtol=1e-3)
    if own["genotype"] == alone["genotype"]:
        np.testing.assert_allclose(own["valid_loss"], alone["valid_loss"], rtol=1e-3)
    if own.get("fitness") is not None:
        np.testing.assert_allclose(own["fitness"], alone["fitness"], rtol=1e-2)
    losses = {result.records[0]["train_loss"] for result in found.results}
    assert found.width == 3 == len(losses)


@pytest.mark.slow
def test_one_weight_step_and_one_exploration_equal_those_alone(base):
    """The first ones, before rounding can grow."""
    configs = with_each(
        base,
        *(
            {"seed": s, "strategy.warmup": 0, "momentum": 0.5 + s / 10}
            for s in (0, 1, 2)
        ),
    )
    setup = set_up_members(configs, [None] * 3, {})
    run = setup.setups[0].run
    programs = make_member_programs(run.problem, run.image_shape)
    batch = make_batch(programs, setup.images, dict(enumerate(setup.members)), 3)
    starts = [beginning(each.run) for each in setup.setups]
    span = jnp.int32(0), jnp.int32(1)
    stepped, _ = programs.train(
        batch.data, batch.hyperparams, stacked(batch, starts), span
    )
    explored, metrics = programs.evolve(
        batch.data, batch.hyperparams, stacked(batch, starts)
    )
    for index, config in enumerate(configs):
        alone = set_up_search(config).run
        state = beginning(alone).state
        new, info = alone.programs.evolve(alone.hyperparams, state)
        own = state_of(explored, index)
        chex.assert_trees_all_close(own.strategy, new.strategy, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(metrics["fitness"][index], info["fitness"], 1e-4)
        state, _ = alone.programs.train(alone.hyperparams, state, span)
        own = state_of(stepped, index)
        chex.assert_trees_all_close(own.params, state.params, rtol=1e-4, atol=1e-5)
