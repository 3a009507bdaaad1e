"""Members of batches on eight simulated devices; run by test_member_devices.py."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_search

import egnas_jax as eg
from egnas_jax.runs import retrainings, searches, verify
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.runs.retrainings import run_retrainings
from egnas_jax.runs.searches import run_searches
from egnas_jax.settings import apply_settings
from egnas_jax.storage import records
from egnas_jax.training.member_axis import (
    Axes,
    jit_over_devices,
    members_mesh,
    put,
    shapes_of,
)

COLLECTIVE = re.compile(
    r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-(permute|broadcast)"
)
CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
RETRAINING = {
    "network.channels": 4,
    "network.layers": 3,
    "epochs": 2,
    "batch_size": 128,
    "learning_rate": 0.1,
    "valid_share": 0.7,  # leaves three steps an epoch
}


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


@pytest.fixture(scope="module", autouse=True)
def programs():
    """Compiled programs by what they are of and their shape; compiled once."""
    kept = {}

    def keeping(module, name):
        compiled = module.compiled_programs

        def from_kept(batch, shape, *watch):
            images = len(batch.images[1]) if name == "searches" else None
            key = name, *shape, images
            if key not in kept:
                kept[key] = compiled(batch, shape, *watch)
            return kept[key]

        patch.setattr(module, "compiled_programs", from_kept)

    with pytest.MonkeyPatch.context() as patch:
        keeping(searches, "searches")
        keeping(verify, "searches")
        keeping(retrainings, "retrainings")
        yield kept


def collectives(program):
    """Names of the collectives in a compiled program."""
    compiled = getattr(program, "compiled", program)
    text = compiled.as_text()
    assert len(text) > 500
    return set(map(re.Match.group, COLLECTIVE.finditer(text)))


def digests(result):
    return [[line["digest"] for line in own.records] for own in result.results]


# --- the axis of members


def scaled(shared, own, step):
    return {"sum": jnp.sum(shared * own["x"]) * step, "step": step + 1}


AXES = Axes((None, 0, None), {"sum": 0, "step": None})


def arguments(count):
    own = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    return np.float32([1, 2, 4]), {"x": own}, np.float32(2)


def test_devices_compute_their_own_members_and_exchange_nothing():
    mesh = members_mesh(8)
    several = jax.vmap(scaled, in_axes=AXES.inputs, out_axes=AXES.outputs)
    alone = several(*arguments(16))
    divided = jit_over_devices(several, AXES, mesh, name="scaled")
    total, step = map(divided(*arguments(16)).get, ("sum", "step"))
    np.testing.assert_array_equal(total, alone["sum"])
    assert step == 3 and step.shape == ()
    shards = {shard.device.id: shard.data for shard in total.addressable_shards}
    assert sorted(shards) == list(range(8))
    np.testing.assert_array_equal(shards[3], alone["sum"][6:8])
    shapes = shapes_of(mesh, arguments(16), AXES.inputs)
    assert not collectives(divided.lower(*shapes).compile())


def test_a_sum_over_members_would_be_found_in_the_program():
    """What `collectives` finds where there is something to find."""

    def mean(own):
        return jax.lax.pmean(own, "members")

    exchanging = jit_over_devices(mean, Axes((0,), 0), members_mesh(8), name="mean")
    assert collectives(exchanging.lower(np.ones((16, 64))).compile()) == {"all-reduce"}


def test_shared_arrays_are_on_every_device_and_others_are_divided():
    shared, own, _ = put(members_mesh(4), arguments(8), AXES.inputs)
    assert [shard.data.shape for shard in shared.addressable_shards] == [(3,)] * 4
    assert [s.data.shape for s in own["x"].addressable_shards] == [(2, 3)] * 4
    assert members_mesh(1) is None and put(None, shared, None).shape == (3,)


# --- searches


@pytest.fixture(scope="module")
def base(space):
    settings = {**tiny_search.SETTINGS, "epochs": 2, "strategy.warmup": 1}
    return eg.search_config("digits", space=tiny_search.SPACE.name, settings=settings)


def seeds_of(base, order, devices=None):
    return [apply_settings(base, {"seed": s, "devices": devices}) for s in order]


@pytest.fixture(scope="module")
def searched(base, tmp_path_factory):
    """Eight searches, one on each device."""
    out = tmp_path_factory.mktemp("searched")
    return out, run_searches(seeds_of(base, range(8)), out, batched="on")


def test_every_search_has_a_device_of_its_own(searched):
    out, result = searched
    assert result.width == 8 and not result.errors
    for seed, own in enumerate(result.results):
        batch = records.read_object(own.folder / "environment.json")["batch"]
        place = batch["members"], batch["position"], batch["device"], batch["devices"]
        assert place == (1, 0, seed, 8)
        assert own.config.devices == 1


def test_no_program_of_searches_exchanges_anything(searched, programs):
    found = programs["searches", 1, 8, 8 * 1438]
    for name in ("train", "evolve", "validate"):
        assert not collectives(getattr(found, name).func)


def test_no_search_depends_on_its_device(searched, base):
    """Bit for bit: eight searches in another order, and one verified on one device."""
    backwards = run_searches(seeds_of(base, range(8)[::-1]), batched="on")
    assert digests(backwards)[::-1] == digests(searched[1])
    notes = []
    verdict = verify.verify_run(
        searched[1].results[5].config,
        searched[1].results[5].folder,
        data_dir=None,
        from_start=True,
        on_epoch=lambda record: None,
        log=notes.append,
    )
    assert verdict == (0, 1, ()) and not notes


def test_searches_stopped_on_eight_devices_go_on_with_one(searched, base, tmp_path):
    run_searches(seeds_of(base, range(8)), tmp_path, batched="on", stop_after=1)
    options = {"resume": True, "log": None, "batched": "auto"}
    found = run_searches(seeds_of(base, range(8), 1), tmp_path, **options)
    assert found.width == 1
    assert digests(found) == digests(searched[1])
    with pytest.raises(ValueError, match="devices is 9, but this process has 8"):
        run_searches(seeds_of(base, range(8), 9), batched="on")


# --- retrainings


def retrained(order, folder=None, **options):
    config = retrain_config(settings=RETRAINING)
    configs = [apply_settings(config, {"seed": seed}) for seed in order]
    folders = folder and [folder / f"seed{seed}" for seed in order]
    return run_retrainings(CELLS, configs, folders, **{"batched": "on", **options})


@pytest.fixture
def with_devices(monkeypatch):
    return functools.partial(monkeypatch.setattr, jax, "local_device_count")


@pytest.fixture(scope="module")
def fifteen():
    """Fifteen seeds on eight devices; the last one also computes a copy."""
    return retrained(range(15))


def test_no_retraining_depends_on_its_device(fifteen, programs):
    """Bit for bit, beside other members and on another device."""
    assert fifteen.width == 16 and not fifteen.errors
    for name in ("train", "logits"):
        assert not collectives(getattr(programs["retrainings", 2, 8, None], name).func)
    order = [*range(4, 15), 20, *range(4)]
    expected, found = digests(fifteen), digests(retrained(order))
    assert found[:11] + found[12:] == expected[4:] + expected[:4]


def test_retrainings_of_one_device_go_on_with_eight(fifteen, with_devices, tmp_path):
    with_devices(lambda: 1)
    stopped = retrained(range(15), tmp_path, stop_after=1, batched=2)
    assert stopped.width == 2
    batch = records.read_object(tmp_path / "seed13" / "environment.json")["batch"]
    assert (batch["device"], batch["devices"], batch["position"]) == (0, 1, 1)
    with_devices(lambda: 8)
    found = retrained(range(15), tmp_path, resume=True, batched="auto")
    assert found.width == 16 and digests(found) == digests(fifteen)
    batch = records.read_object(tmp_path / "seed13" / "environment.json")["batch"]
    assert (batch["device"], batch["devices"], batch["position"]) == (6, 8, 1)
