"""Edges that are dropped for single images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec
from egnas_jax.nn.drop_path import EdgeDropout, edge_factors
from egnas_jax.nn.init import draw
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Mixing

SPACE = Space("dropped", ("skip_connect", "avg_pool_3x3"), num_nodes=2)
KEY = jax.random.key(0)


def test_cells_and_passes_draw_their_own_factors():
    def factors(key, cell):
        return np.asarray(edge_factors(EdgeDropout(key, 0.3), cell, 14, 40))

    first = factors(KEY, 0)
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.7)}
    np.testing.assert_array_equal(first, factors(KEY, jnp.int32(0)))
    assert not np.array_equal(first, factors(KEY, 1))
    assert not np.array_equal(first, factors(jax.random.key(1), 0))
    assert edge_factors(None, 0, 14, 40) is None


@pytest.mark.parametrize("partial_channels", [1, 2])
def test_a_factor_scales_a_whole_edge_of_one_image(partial_channels):
    """As if that image had been computed under other edge weights."""
    spec = CellSpec(SPACE, "normal", partial_channels, pool_bn=False)
    variables = tuple(draw(KEY, tree) for tree in init_cell(spec, 4))
    inputs = tuple(jax.random.normal(KEY, (2, 4, 4, 4, 3)))
    rows = {"normal": jax.random.uniform(KEY, (5, 2))}
    factors = jax.random.uniform(jax.random.key(1), (5, 3))

    @jax.jit
    def cell(edges, factors):
        mixing = Mixing(rows, {"normal": edges})
        return mixed_cell(
            spec, variables, inputs, mixing, train=False, factors=factors
        )[0]

    found = cell(jnp.ones(5), factors)
    for image in range(3):
        expected = cell(factors[:, image], jnp.ones((5, 3)))
        np.testing.assert_allclose(
            found[..., image], expected[..., image], rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_a_loop_over_cells_drops_what_cells_in_a_row_drop():
    config = SupernetConfig(
        channels=2, layers=6, partial_channels=1, lowering="shifted"
    )
    net = make_supernet(config)
    variables = net.init(KEY, (8, 8, 1))
    images = jax.random.normal(KEY, (6, 8, 8, 1))
    space = SPACES["darts7"]
    mixing = Mixing(
        {kind: jnp.full((14, 7), 1 / 7) for kind in space.kinds},
        {kind: jnp.ones(14) for kind in space.kinds},
    )

    def logits(many, dropout):
        # many mixings unroll the first group
        options = {"many_mixings": many, "dropout": dropout}
        return jax.jit(lambda: net.apply(variables, images, mixing, **options)[0])()

    dropout = EdgeDropout(KEY, 0.3)
    looped, unrolled = logits(False, dropout), logits(True, dropout)
    np.testing.assert_allclose(looped, unrolled, rtol=1e-4, atol=1e-5)
    assert np.abs(looped - logits(False, None)).max() > 1e-3
