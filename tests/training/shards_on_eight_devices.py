"""Searches with equal shards on other numbers of devices: run by test_devices.py."""

import jax
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records
from egnas_jax.training.devices import make_mesh
from egnas_jax.types import Batch, Mixing

# one node and two primitives, and one cell, because every compilation is dear
SPACE = Space("shards_test", primitives=("skip_connect", "avg_pool_3x3"), num_nodes=1)
SHARDS = 8
SETTINGS = {
    "shards": SHARDS,
    "supernet.channels": 4,
    "supernet.layers": 1,
    "epochs": 2,
    "batch_size": 256,
    "validation_chunk": 64,
}
# a population once an epoch, alpha's gradient in each step, and a controller
METHODS = {
    "egnas": {"strategy.population": 10, "strategy.fitness_batch_size": 64},
    "darts": {"strategy.batch_size": 64},
    "enas": {
        "strategy.batch_size": 64,
        "strategy.hidden": 8,
        "strategy.samples": 5,
        "strategy.steps": 2,
    },
}


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


def digests(folder):
    return [record["digest"] for record in records.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    """method -> the directory of its search on one device; computed once."""
    folder = tmp_path_factory.mktemp("one")

    def directory(method):
        if not (folder / method).exists():
            assert main(command(method, folder / method, devices=1)) == 0
        return folder / method

    return directory


@pytest.mark.parametrize("method", ["darts", "enas"])
def test_eight_devices_have_the_digests_of_one(method, on_one, tmp_path):
    assert main(command(method, tmp_path / "run", devices=8)) == 0
    found = digests(tmp_path / "run")
    assert len(set(found)) == 2
    assert found == digests(on_one(method))


def test_a_run_goes_on_and_is_verified_on_fewer_devices(on_one, tmp_path, capsys):
    """The shards of the first start count, and no setting has to name them again."""
    run, default = tmp_path / "run", {"shards": "none"}
    first = command("egnas", run, "--stop-after", "1", devices=8, **default)
    assert main(first) == 0
    assert main(command("egnas", run, "--resume", devices=2, **default)) == 0
    assert digests(run) == digests(on_one("egnas"))
    assert main(["verify", str(run), "--from-start"]) == 0  # on all eight again
    capsys.readouterr()
    assert main(command("egnas", run, "--resume", shards=4)) == 2
    assert "shards: 8 -> 4" in capsys.readouterr().err


def net_on(devices, layers):
    config = SupernetConfig(
        channels=4, layers=layers, num_classes=3, partial_channels=2, space=SPACE.name
    )
    return make_supernet(config)._replace(mesh=make_mesh(devices), shards=SHARDS)


def inputs(net, images, size=None):
    """Variables, a mixing or a population of some, and a batch."""
    space, keys = SPACES[SPACE.name], iter(jax.random.split(jax.random.key(0), 5))
    leading = () if size is None else (size,)
    shape = *leading, space.num_edges, len(space.primitives)
    rows = {kind: jax.random.uniform(next(keys), shape) for kind in space.kinds}
    edges = {kind: np.ones(shape[:-1], np.float32) for kind in space.kinds}
    x = jax.random.normal(next(keys), (images, 8, 8, 3))
    labels = jax.random.randint(next(keys), (images,), 0, 3)
    variables = net.init(next(keys), (8, 8, 3))
    return variables, Mixing(rows, edges), Batch(x, labels)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def gradients_on(devices, layers):
    """Gradients and statistics of a batch under a network of three equal cells."""
    net = net_on(devices, layers)
    variables, mixing, batch = inputs(net, 16)

    def network(params, stats, mixing):
        return {"params": params, "batch_stats": stats}, mixing

    def gradients(params, batch, stats, mixing):
        return batch_gradients(net, network, params, batch, stats, mixing)

    options = lowering.compiler_options((8, 8))
    arguments = variables["params"], batch, variables["batch_stats"], mixing
    return bits(jax.jit(gradients, compiler_options=options)(*arguments))


def test_gradients_have_the_same_bits_on_one_two_four_and_eight_devices():
    """Cells that run as a loop exchange in its body."""
    first, *others = (gradients_on(devices, 5) for devices in (1, 2, 4, 8))
    assert others == [first] * 3


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_a_population_has_the_same_bits_on_one_two_four_and_eight_devices(statistics):
    def scores(devices):
        net = net_on(devices, layers=1)
        variables, mixings, batch = inputs(net, 24, size=11)
        arguments = variables, mixings, batch.images, batch.labels
        return bits(evaluate_population(net, *arguments, batch_stats=statistics))

    first, *others = (scores(devices) for devices in (1, 2, 4, 8))
    assert others == [first] * 3


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"shards": 3, "devices": 2}, "Set shards to 4"),
        ({"shards": 3, "batch_size": 256}, "Set batch_size to 258"),
        ({"shards": 0}, "shards is 0, but must be from 1"),
    ],
)
def test_shards_that_do_not_fit_are_refused(settings, hint, tmp_path, capsys):
    assert main(command("egnas", tmp_path / "run", **settings)) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
