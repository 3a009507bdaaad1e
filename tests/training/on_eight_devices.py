"""One process with eight devices: run by test_devices.py, in a process of its own."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.nn.drop_path import EdgeDropout, edge_factors
from egnas_jax.nn.layers import lazy_batch_norm
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.nn.sync_batch_norm import IMAGES
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness
from egnas_jax.strategies.second_order import second_order_gradient
from egnas_jax.training.devices import make_mesh, over_images, over_rows
from egnas_jax.types import Batch, Mixing

# One node and two primitives: every compilation of eight devices is dear.
SPACE = Space("mesh_test", primitives=("skip_connect", "dil_conv_3x3"), num_nodes=1)


@pytest.fixture(scope="module", autouse=True)
def space():
    assert jax.device_count() == 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield


@pytest.fixture(scope="module")
def mesh(space):
    return make_mesh(None)


@pytest.fixture(scope="module")
def net(space):
    """One cell, a reduction."""
    config = SupernetConfig(
        channels=4, layers=1, num_classes=3, partial_channels=2, space=SPACE.name
    )
    return make_supernet(config)


def population(size, net):
    """Mixings far apart, of unlike edges."""
    space = SPACES[net.config.space]
    keys = iter(jax.random.split(jax.random.key(size), 4))
    shape = size, space.num_edges, len(space.primitives)
    rows, edges = (
        {kind: jax.random.uniform(next(keys), s, maxval=2.0) for kind in space.kinds}
        for s in (shape, shape[:2])
    )
    return Mixing(rows, edges)


def batch_of(images):
    key_images, key_labels = jax.random.split(jax.random.key(images))
    labels = jax.random.randint(key_labels, (images,), 0, 3)
    return Batch(jax.random.normal(key_images, (images, 8, 8, 3)), labels)


def same_bits(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y), a, b)


def on_all_devices_alike(tree):
    for leaf in jax.tree.leaves(tree):
        assert len(leaf.addressable_shards) == 8
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, leaf)


def scored(net, mesh, size, images, **options):
    """A population evaluated on one device, and on eight."""
    variables = net.init(jax.random.key(0), (8, 8, 3))
    batch = batch_of(images)
    arguments = variables, population(size, net), batch.images, batch.labels
    alone, together = (
        evaluate_population(n, *arguments, **options)
        for n in (net, net._replace(mesh=mesh))
    )
    assert len(set(np.asarray(alone.loss))) == size  # or an order could go unseen
    on_all_devices_alike(together)
    return alone, together


def test_an_individual_scores_the_same_to_the_bit(net, mesh):
    """17 on eight devices, three to a device."""
    same_bits(*scored(net, mesh, 17, 40, batch_stats="batch"))


def test_chunks_of_images_are_put_together_as_on_one_device(toy_net, mesh):
    """A chunk of 32 images and a padded one."""
    same_bits(*scored(toy_net, mesh, 17, 40, batch_stats="running"))


@pytest.mark.parametrize(("size", "images"), [(5, 40), (1, 41)])
def test_fewer_individuals_than_devices_score_the_same_to_rounding(
    size, images, toy_net, mesh
):
    """One to a device, or one whose images are divided into seven chunks of 6.

    XLA compiles a loop of one turn into what surrounds it: the last bit may differ.
    """
    alone, together = scored(toy_net, mesh, size, images)
    same_bits(alone.correct, together.correct)
    np.testing.assert_allclose(together.loss, alone.loss, rtol=5e-7)


def test_a_row_is_worked_on_by_the_device_whose_share_it_is_in(mesh):
    def where(rows):
        return jnp.full(len(rows), jax.lax.axis_index("rows")), rows

    device, rows = jax.jit(lambda r: over_rows(mesh, where, r))(jnp.arange(50))
    assert rows.tolist() == list(range(50))
    assert device.tolist() == [row // 7 for row in range(50)]


@pytest.mark.parametrize("tie", ["first", "last"])
def test_of_fifty_the_last_wins_and_none_of_its_copies(tie, toy_net, toy_batch, mesh):
    """50 and alpha on 8 devices: five of 56 places repeat the last individual."""
    space = SPACES["darts7"]
    weight = jnp.linspace(-2.0, 1.0, 50)  # of the only primitive that solves the task
    rows = jnp.zeros((50, space.num_edges * 2, 7)).at[..., 3].set(weight[:, None])
    alpha = {kind: jnp.zeros((space.num_edges, 7)) for kind in space.kinds}
    variables = toy_net.init(jax.random.key(0))
    options = EGNASConfig(eta=0.0, tie=tie)

    def run(net):
        z = rows.reshape(50, -1)
        return jax.jit(
            lambda: evaluate_fitness(
                net, variables, alpha, z, toy_batch.images, toy_batch.labels, options
            )
        )()

    alone, together = run(toy_net), run(toy_net._replace(mesh=mesh))
    assert together.winner == 49
    assert together.fitness.shape == (50,)
    same_bits(alone, together)


def test_a_norm_and_its_gradients_are_those_of_the_whole_batch(mesh):
    """Every share has a mean of its own, so that its own moments would be far off."""
    key_x, key_c = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (16, 1, 2, 3, 3))
    x = x + 4.0 * jnp.arange(16.0)[:, None, None, None, None]
    weight = jax.random.normal(key_c, x.shape)
    stats = {"mean": jnp.ones((1, 2)), "var": jnp.ones((1, 2))}

    def summed(batch):
        def loss(x):
            y, moved = lazy_batch_norm({}, stats, jnp.moveaxis(x, 0, -1), train=True)
            return jnp.sum(jnp.moveaxis(y.value(), -1, 0) * batch["weight"]), moved

        (value, moved), gradient = jax.value_and_grad(loss, has_aux=True)(batch["x"])
        own = jnp.sum(gradient**2), jnp.sum(gradient * batch["weight"])
        return (value, own), moved

    batch = {"x": x, "weight": weight}
    alone = jax.jit(summed)(batch)
    together = jax.jit(lambda b: over_images(mesh, summed, b))(batch)
    mean, var = np.mean(x, (0, 3, 4)), np.var(x, (0, 3, 4), ddof=1)
    np.testing.assert_allclose(together[1]["mean"], 0.9 + 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(together[1]["var"], 0.9 + 0.1 * var, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-5), alone, together
    )


def gradients(net, mesh, images):
    """Gradients and new statistics of a batch, on one device and on eight."""
    variables = net.init(jax.random.key(0), (8, 8, 3))
    mixing = jax.tree.map(lambda leaf: leaf[0], population(3, net))
    wrt = variables["params"], mixing.primitives

    def network(wrt, stats, edges):
        params, rows = wrt
        return {"params": params, "batch_stats": stats}, Mixing(rows, edges)

    shared = variables["batch_stats"], mixing.edges
    return [
        jax.jit(lambda s, b, n=n: batch_gradients(n, network, s, b, *shared))(
            wrt, batch_of(images)
        )
        for n in (net, net._replace(mesh=mesh))
    ]


def test_a_divided_batch_has_the_gradients_and_statistics_of_the_whole(net, mesh):
    """Four images a device."""
    alone, together = gradients(net, mesh, 32)
    assert alone[0].correct == together[0].correct
    for a, b in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
        # sums of float32 in another order; relative to the largest of each array
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-4 * np.abs(a).max() + 1e-6)
    on_all_devices_alike(together)


def test_a_batch_that_cannot_be_divided_is_worked_off_by_every_device(toy_net, mesh):
    same_bits(*gradients(toy_net, mesh, 12))


@pytest.mark.parametrize("form", ["exact", "finite_difference"])
def test_a_gradient_through_a_weight_step_is_that_of_one_device(form, net, mesh):
    variables, batch = net.init(jax.random.key(1), (8, 8, 3)), batch_of(32)
    trainee = Trainee(
        variables=variables,
        momentum=jax.tree.map(jnp.zeros_like, variables["params"]),
        learning_rate=jnp.float32(0.1),
    )
    alpha = jax.tree.map(lambda rows: rows[0], population(1, net).primitives)

    def gradient(net):
        batches = {"train_batch": batch, "valid_batch": batch}
        return second_order_gradient(net, form, alpha, trainee, **batches)

    alone, together = (
        jax.jit(lambda n=n: gradient(n))() for n in (net, net._replace(mesh=mesh))
    )
    # the difference of two gradients amplifies their roundings
    tolerance = 1e-4 if form == "exact" else 0.05
    for a, b in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * np.abs(a).max())


def test_devices_drop_other_edges_of_their_images(mesh):
    def factors(images):
        dropout = EdgeDropout(jax.random.key(0), 0.5)
        found = edge_factors(dropout, 0, 14, len(images))
        return jnp.zeros(()), jax.lax.all_gather(found, IMAGES)

    _, found = jax.jit(lambda images: over_images(mesh, factors, images))(jnp.ones(32))
    assert len(np.unique(np.asarray(found).reshape(8, -1), axis=0)) == 8


SEARCH = [
    "search",
    "--space",
    SPACE.name,
    "--set",
    "supernet.channels=4",
    "--set",
    "supernet.layers=1",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=128",
    "--set",
    "strategy.population=10",
    "--set",
    "strategy.fitness_batch_size=64",
    "--set",
    "validation_chunk=32",
    "--set",
    "learning_rate=0.01",
]


@pytest.fixture(scope="module")
def searches_and_compiled(space, tmp_path_factory, logged_compilations):
    """The same search on one device and on eight; what was compiled for these."""
    folder = tmp_path_factory.mktemp("searches")
    for devices in (1, 8):
        out = ["--set", f"devices={devices}", "--out", str(folder / str(devices))]
        with logged_compilations() as names:
            assert main([*SEARCH, *out]) == 0
    return folder, names


@pytest.fixture(scope="module")
def searches(searches_and_compiled):
    return searches_and_compiled[0]


def test_a_program_of_eight_devices_is_compiled_once(searches_and_compiled):
    """A state that lay elsewhere in the second epoch would be compiled for anew."""
    _, names = searches_and_compiled
    programs = ("jit(train_steps)", "jit(evolve)", "jit(validate)")
    assert [names.count(program) for program in programs] == [1, 1, 1]


def test_a_search_finds_the_same_genotype(searches):
    one, eight = (searches / name for name in ("1", "8"))
    genotypes = [(run / "genotype.json").read_text() for run in (one, eight)]
    assert genotypes[0] == genotypes[1]
    pairs = zip(
        *(records.read(run / "metrics.jsonl") for run in (one, eight)), strict=True
    )
    for a, b in pairs:
        np.testing.assert_allclose(b["train_loss"], a["train_loss"], rtol=1e-4)
        np.testing.assert_allclose(b["valid_loss"], a["valid_loss"], rtol=1e-4)


def test_the_environment_records_the_mesh_and_who_prices_whom(searches):
    one, eight = (
        json.loads((searches / name / "environment.json").read_text())["mesh"]
        for name in ("1", "8")
    )
    assert one is None
    assert eight["shape"] == {"devices": 8}
    assert [device["id"] for device in eight["devices"]] == list(range(8))
    # ten individuals and alpha, two to a device: the sixth has one, two have none
    assert eight["population"]["of_device"] == [
        [0, 2],
        [2, 4],
        [4, 6],
        [6, 8],
        [8, 10],
        [10, 11],
        [11, 11],
        [11, 11],
    ]
    assert eight["population"]["padded"] == 16
    assert eight["images"] == {"batch": 128, "per_device": 16}


def test_a_restored_state_goes_on_to_the_same_digest(searches, capsys):
    """The second epoch, again from the checkpoint of the first."""
    assert main(["verify", str(searches / "8")]) == 0
    assert "Epochs 2 to 2 were replayed; every digest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("devices=9", "JAX_NUM_CPU_DEVICES=9"),
        ("batch_size=100", "Set batch_size to 104"),
        ("devices=0", "devices is 0, but must be from 1"),
    ],
)
def test_devices_that_do_not_fit_are_refused(setting, hint, tmp_path, capsys):
    command = [*SEARCH, "--set", setting, "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_on_eight_devices_is_not_resumed_on_four(searches, capsys):
    command = [*SEARCH, "--set", "devices=4", "--out", str(searches / "8"), "--resume"]
    assert main(command) == 2
    assert "devices: 8 -> 4" in capsys.readouterr().err
