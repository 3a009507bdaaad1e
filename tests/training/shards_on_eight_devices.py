"""Equal shards on 1, 2, 4 and 8 devices: run by test_shard_devices.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_methods
from sharded_functions import W, gathered, looped, normed, random

from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training.devices import describe, make_mesh
from egnas_jax.training.shards import Division, over_images, over_rows

# One node, primitives without weights, and no choice of edges, which would make the
# controller longer: every compilation is dear.
SPACE = Space(
    "shards_test",
    primitives=("max_pool_3x3", "avg_pool_3x3"),
    num_nodes=1,
    derive="argmax",
)
SHARDS = 8
SETTINGS = {
    "shards": SHARDS,
    "supernet.channels": 4,
    "supernet.layers": 1,
    "supernet.partial_channels": 1,
    "batch_size": 256,
    "validation_chunk": 64,
}
METHODS = {
    name: {
        path: value
        for path, value in small_methods.settings_of(name).items()
        if path != "strategy.conv_bias"  # the space has no convolutions
    }
    for name in sorted(STRATEGIES)
    if name != "p_darts"  # whose stages have a test in tests/runs
} | {
    "egnas": {
        "strategy.warmup": 0,
        "strategy.population": 10,
        "strategy.fitness_batch_size": 64,
    },
    "darts": {"strategy.batch_size": 64},
    "enas": {
        "strategy.batch_size": 64,
        "strategy.hidden": 8,
        "strategy.samples": 5,
        "strategy.steps": 2,
    },
}
# The numbers of devices that compute one epoch of a search after the other. A method
# compiles anew for each, so one method moves most.
DEVICES = {name: (2,) for name in METHODS} | {"egnas": (1, 2, 4), "darts": (1,)}


@pytest.fixture(scope="module", autouse=True)
def space():
    assert jax.device_count() == 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield


def command(method, folder, *more, **settings):
    """A search as the words of its command."""
    settings = SETTINGS | METHODS[method] | settings
    words = [w for path, v in settings.items() for w in ("--set", f"{path}={v}")]
    place = ["--strategy", method, "--space", SPACE.name, "--out", str(folder)]
    return ["search", *place, *words, *more]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_search_that_moves_between_devices_is_replayed_on_eight(
    method, tmp_path, capsys
):
    """Every epoch has the digest of eight devices."""
    run, settings = tmp_path / "run", {"epochs": len(DEVICES[method])}
    for epoch, devices in enumerate(DEVICES[method], start=1):
        more = ["--resume", "--stop-after", str(epoch)]
        assert main(command(method, run, *more, devices=devices, **settings)) == 0
    lines = records.read(run / "metrics.jsonl")
    assert len({line["digest"] for line in lines}) == len(DEVICES[method])
    assert main(["verify", str(run), "--from-start"]) == 0
    assert "every digest" in capsys.readouterr().out
    assert main(command(method, run, "--resume", shards=4, **settings)) == 2
    assert "shards: 8 -> 4" in capsys.readouterr().err


def bits(function, *arguments):
    """The bits of a jitted function's results on 1, 2, 4 and 8 devices."""
    found = []
    for devices in (1, 2, 4, 8):
        division = Division(make_mesh(devices), SHARDS)
        results = jax.jit(lambda *a, d=division: function(d, *a))(*arguments)
        found.append([np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(results)])
    return found


@pytest.mark.parametrize("function", [gathered, looped, normed, random])
def test_a_batch_has_the_same_bits_on_any_number_of_devices(function):
    x = jax.random.normal(jax.random.key(1), (24, 3))
    first, *others = bits(lambda d, x, w: over_images(d, function, x, w), x, W)
    assert others == [first] * 3


@pytest.mark.parametrize("size", [3, 11])
def test_a_population_has_the_same_bits_on_any_number_of_devices(size):
    """Some shards have fewer rows than others, or none."""

    def function(rows, w):
        return jnp.tanh(rows @ w.T) + jnp.sum(rows)  # of the rows computed together

    rows = jax.random.normal(jax.random.key(2), (size, 3))
    first, *others = bits(lambda d, r, w: over_rows(d, function, r, w), rows, W)
    assert others == [first] * 3


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"shards": 3, "devices": 2}, "Set shards to 4"),
        ({"shards": 12, "devices": 8}, "Set shards to 16"),
    ],
)
def test_shards_that_devices_cannot_share_are_refused(settings, hint, tmp_path, capsys):
    assert main(command("egnas", tmp_path / "run", **settings)) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_shards_are_recorded_beside_the_devices():
    """Eleven individuals in eight shards: two each, and none for the last ones."""
    found = describe(make_mesh(4), 11, 256, SHARDS)
    assert found["shards"] == SHARDS
    assert found["population"]["of_device"] == [(0, 4), (4, 8), (8, 11), (11, 11)]
    assert found["images"] == {"batch": 256, "per_device": 64}
