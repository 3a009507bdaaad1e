"""The cells that a proxy scores at a time follow from the free memory."""

import jax
import jax.numpy as jnp
import pytest

import egnas_jax as eg
from egnas_jax.nn import lowering
from egnas_jax.proxies import PROXIES, cells, memory, of_mixing, score, score_cells
from egnas_jax.search.relax import unweighted
from egnas_jax.types import Batch

SMALL = eg.SupernetConfig(channels=8, layers=5, partial_channels=1, space="nasbench201")
# of the benchmark's own networks
FULL = eg.SupernetConfig(
    channels=16, layers=17, partial_channels=1, space="nasbench201"
)


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def at_a_time(name, free, config=FULL, number=125):
    return memory.cells_at_a_time(
        name, config, (32, 32, 3), 64, number, free_bytes=lambda: free
    )


def test_a_cpu_scores_one_cell_at_a_time():
    assert {at_a_time(name, 10**12) for name in PROXIES} == {1}


@pytest.mark.usefixtures("accelerator")
def test_cells_fill_half_of_the_free_memory_at_most():
    for name in PROXIES:
        number = at_a_time(name, 30 * 10**9)
        each = memory.cell_bytes(name, FULL, (32, 32, 3), 64)
        assert number * each <= 15 * 10**9
        assert number == 125 or 4 * number * each > 15 * 10**9
        assert at_a_time(name, 0) == 1 and at_a_time(name, 10**15) == 125


@pytest.mark.usefixtures("accelerator")
def test_what_a_proxy_reads_decides_how_many_cells_fit():
    fitting = {name: at_a_time(name, 30 * 10**9) for name in PROXIES}
    assert fitting["grasp"] < fitting["snip"] < fitting["naswot"]
    assert fitting["params"] == fitting["l2_norm"] == fitting["synflow"] == 125
    smaller = at_a_time("snip", 30 * 10**9, SMALL)
    assert smaller > fitting["snip"]


@pytest.mark.usefixtures("accelerator")
def test_where_the_free_memory_is_unknown_64_cells_are_scored_at_a_time():
    assert at_a_time("snip", None) == 64 and at_a_time("snip", None, number=9) == 9


def test_cells_are_scored_by_as_many_as_fit(monkeypatch):
    net, sizes = eg.make_supernet(SMALL), []
    fitting = {"params": 7, "snip": 2}
    monkeypatch.setattr(cells, "cells_at_a_time", lambda name, *_: fitting[name])

    def compiled(name, net, at_a_time, image_shape):
        sizes.append((name, at_a_time))
        return lambda *arguments: None

    monkeypatch.setattr(cells, "_compiled", compiled)
    keys, images = jax.random.split(jax.random.key(0), 3), jnp.zeros((4, 8, 8, 3))
    arguments = net, None, Batch(images, jnp.zeros(4, jnp.int32)), keys
    score_cells(["params", "snip"], *arguments)
    score_cells(["snip"], *arguments, at_a_time=3)
    assert sizes == [("params", 7), ("snip", 2), ("snip", 3)]


def reserved(name, number, images, side):
    """Temporary bytes of the program that scores some cells at a time."""
    net = eg.make_supernet(SMALL)

    def run(mixings, batch, keys):
        def of_cell(mixing, key):
            variables = net.init(key, batch.images.shape[1:])
            network = of_mixing(net, mixing)
            return score([name], network, variables, batch, key)[name]

        return jax.vmap(of_cell)(mixings, keys)

    def arguments():
        mixings = unweighted({"cell": jnp.zeros((number, 6, 5))})
        pixels = jnp.zeros((images, side, side, 3))
        batch = Batch(pixels, jnp.zeros(images, jnp.int32))
        return mixings, batch, jax.random.split(jax.random.key(0), number)

    options = lowering.compiler_options((side, side))
    program = jax.jit(run, compiler_options=options)
    compiled = program.lower(*jax.eval_shape(arguments)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["naswot", "snip", pytest.param("grasp", marks=pytest.mark.longest)]
)
def test_the_model_is_near_what_xla_reserves(name):
    actual = reserved(name, 4, 16, 16)
    modelled = 4 * memory.cell_bytes(name, SMALL, (16, 16, 3), 16)
    assert actual / 1.4 < modelled < 1.4 * actual
