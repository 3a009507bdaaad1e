"""Cells whose edges have lost primitives, against cells that have all."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.cell import init_cell, mixed_cell
from egnas_jax.nn.cell_spec import CellSpec, live_positions, out_edges
from egnas_jax.nn.init import draw, is_leaf
from egnas_jax.nn.skip_dropout import SkipDropout, drop_elements
from egnas_jax.nn.supernet import SupernetConfig, leaves_of, make_supernet
from egnas_jax.nn.supernet_config import as_live
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.space import Space
from egnas_jax.types import Mixing

SPACE = Space(
    "pruned", ("none", "avg_pool_3x3", "skip_connect", "dil_conv_3x3"), num_nodes=2
)
LIVE = ((1, 3), (0, 2), (2, 3), (0,), (1, 2))  # the fourth edge has `none` alone
KEY = jax.random.key(0)


def weights_of(live):
    """Rows of a mixing that are 0 where a primitive is not live."""
    rows = jax.random.uniform(KEY, (5, 4))
    mask = np.zeros((5, 4), bool)
    for edge, primitives in enumerate(live):
        mask[edge, list(primitives)] = True
    return jnp.where(mask, rows, 0.0)


def pruned(spec, tree):
    """The arrays that the pruned cell has, of those of the whole cell."""
    outgoing = out_edges(SPACE, spec.reduction)
    return [
        {
            name: jax.tree.map(
                lambda leaf, where=where: leaf[jnp.asarray(where)], arrays[name]
            )
            for name, where in live_positions(spec, edges).items()
            if name in arrays
        }
        for edges, arrays in zip(outgoing, tree, strict=True)
    ]


def gradient_of(spec, lowering):
    """A compiled (params, stats, rows, inputs) -> output, new stats and gradient."""

    def loss(params, stats, rows, inputs):
        mixing = Mixing({spec.kind: rows}, {spec.kind: jnp.linspace(0.5, 1.5, 5)})
        out, new_stats = mixed_cell(
            spec,
            (params, stats),
            inputs,
            mixing,
            train=True,
            implementation=lowering,
        )
        return jnp.sum(out**2), (out, new_stats)

    return jax.jit(jax.grad(loss, has_aux=True))


@pytest.mark.parametrize(
    "kind, partial_channels, lowering",
    [("normal", 1, "shifted"), ("reduce", 2, "matrix")],
)
def test_a_pruned_cell_is_the_whole_cell_without_what_weighs_nothing(
    kind, partial_channels, lowering
):
    whole = CellSpec(SPACE, kind, partial_channels, pool_bn=lowering == "matrix")
    small = whole._replace(live=LIVE)
    params, stats = (draw(KEY, tree) for tree in init_cell(whole, 4))
    inputs = tuple(jax.random.normal(KEY, (2, 4, 4, 4, 3)))
    rows = weights_of(LIVE)
    expected, (out, new_stats) = gradient_of(whole, lowering)(
        params, stats, rows, inputs
    )
    # norms behind poolings are one for all edges of a state
    shared = {"avg_pool_3x3"} if whole.pool_bn else set()

    def select(tree):
        picked = pruned(small, tree)
        for arrays, full in zip(picked, tree, strict=True):
            arrays |= {name: full[name] for name in shared & set(arrays)}
        return picked

    found, (small_out, small_stats) = gradient_of(small, lowering)(
        select(params), select(stats), rows, inputs
    )
    assert float(jnp.abs(out).max()) > 0.1
    for actual, wanted in (
        (small_out, out),
        (small_stats, select(new_stats)),
        (found, select(expected)),
    ):
        for a, w in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, w, rtol=1e-4, atol=1e-5)
    layout = [tuple(a.shape) for a in jax.tree.leaves(select(params))]
    described = jax.tree.leaves(init_cell(small, 4)[0], is_leaf=is_leaf)
    assert layout == [leaf.shape for leaf in described]


def test_a_pruned_cell_needs_less_memory_and_a_shorter_program():
    whole = CellSpec(SPACE, "normal", 1, pool_bn=False)
    programs = []
    for spec in (whole, whole._replace(live=((2,), (2,), (3,), (2,), (2,)))):
        params, stats = (draw(KEY, tree) for tree in init_cell(spec, 8))
        inputs = tuple(jnp.zeros((2, 8, 8, 8, 4)))
        lowered = gradient_of(spec, "shifted").lower(
            params, stats, jnp.zeros((5, 4)), inputs
        )
        memory = lowered.compile().memory_analysis().temp_size_in_bytes
        programs.append((memory, lowered.as_text().count("\n")))
    (whole_bytes, whole_lines), (bytes_left, lines_left) = programs
    assert bytes_left < 0.6 * whole_bytes
    assert lines_left < 0.8 * whole_lines


# the primitives that make the largest supernet of three an edge
THREE = as_live([[[3, 4, 6]] * 14] * 2)


def deep(live):
    """P-DARTS's last supernet: 17 cells, with 3 of 8 primitives or with all."""
    return SupernetConfig(
        space="darts8", layers=17, partial_channels=1, live=live, pool_bn=True
    )


def test_a_deep_pruned_supernet_has_half_of_the_weights():
    def num_weights(live):
        leaves = jax.tree.leaves(leaves_of(deep(live), 3)["params"], is_leaf=is_leaf)
        return sum(leaf.size for leaf in leaves if math.prod(leaf.shape))

    assert num_weights(THREE) < 0.5 * num_weights(None)


@pytest.mark.longest
def test_a_deep_pruned_supernet_needs_half_of_the_memory():
    """By what the backward pass keeps of an image, weights included."""

    def kept_bytes(live):
        net = make_supernet(deep(live))
        variables = jax.eval_shape(lambda: net.init(KEY, (32, 32, 3)))
        alpha = dict.fromkeys(("normal", "reduce"), jnp.zeros((14, 8)))

        def residuals(variables, alpha):
            def logits(params, alpha):
                changed = {**variables, "params": params}
                images, mixing = jnp.zeros((1, 32, 32, 3)), softmax_mixing(alpha)
                return net.apply(changed, images, mixing, train=True)[0]

            return jax.vjp(logits, variables["params"], alpha)[1]

        leaves = jax.tree.leaves(jax.eval_shape(residuals, variables, alpha))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    assert kept_bytes(THREE) < 0.55 * kept_bytes(None)


@pytest.mark.parametrize(
    "live, message",
    [
        ([[[0]] * 14], "has edges .14. by kind of cell, but must have 14 for each"),
        ([[[0]] * 14, [[0]] * 13], "edges .14, 13. by kind"),
        ([[[0]] * 14, [[0]] * 13 + [[]]], "an edge the primitives .., but an edge"),
        ([[[0]] * 14, [[0]] * 13 + [[1, 0]]], "0 to 6, ascending"),
        ([[[0]] * 14, [[0]] * 13 + [[7]]], "0 to 6, ascending"),
    ],
)
def test_live_primitives_must_fit_the_space(live, message):
    with pytest.raises(ValueError, match=message):
        SupernetConfig(live=as_live(live))


def test_dropout_keeps_the_mean_and_draws_for_every_edge_and_state():
    x = jnp.ones((1, 4, 8, 8, 16))
    dropout = SkipDropout(KEY, 0.25)
    dropped = np.asarray(drop_elements(x, 3, dropout.within(1)))
    assert dropped.shape == (3, 4, 8, 8, 16)
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    assert abs(dropped.mean() - 1) < 0.02
    assert not np.array_equal(dropped[0], dropped[1])
    other = drop_elements(x, 3, dropout.within(2))
    assert not np.array_equal(dropped, other)
    np.testing.assert_array_equal(drop_elements(x, 3, SkipDropout(KEY, 0.0)), 1.0)


@pytest.mark.parametrize("live", [None, ((1, 2), (1, 2))])
def test_dropout_acts_behind_skips_of_stride_1_alone(live):
    """Of cells whose edges take one primitive each."""
    space, changed = Space("node", SPACE.primitives[:3], num_nodes=1), {}
    for kind in ("normal", "reduce"):
        spec = CellSpec(space, kind, 1, pool_bn=False, live=live)
        variables = tuple(draw(KEY, tree) for tree in init_cell(spec, 2))
        inputs = (1.0 + jax.random.uniform(KEY, (2, 4, 4, 3)),) * 2

        @jax.jit
        def cell(rows, rate, spec=spec, variables=variables, inputs=inputs):
            mixing = Mixing({spec.kind: rows}, {spec.kind: jnp.ones(2)})
            skips = SkipDropout(KEY, rate)
            return mixed_cell(spec, variables, inputs, mixing, train=True, skips=skips)[
                0
            ]

        for k in (1, 2):
            rows = jnp.zeros((2, 3)).at[:, k].set(1.0)
            whole, dropped = (cell(rows, rate) for rate in (0.0, 0.5))
            changed[kind, k] = not np.array_equal(whole, dropped)
            if (kind, k) == ("normal", 2):
                dropped_by_input = np.round(dropped / inputs[0], 3)
    assert {place for place, is_changed in changed.items() if is_changed} == {
        ("normal", 2)
    }
    # both inputs are equal here, and each has elements of its own dropped
    assert set(np.unique(dropped_by_input)) == {0, 2, 4}


def test_every_cell_and_state_of_a_supernet_has_a_dropout_of_its_own(monkeypatch):
    drawn, within = [], SkipDropout.within

    def noted(dropout, index):
        drawn.append(index)
        return within(dropout, index)

    monkeypatch.setattr(SkipDropout, "within", noted)
    net = make_supernet(SupernetConfig(channels=4, layers=3, lowering="grouped"))
    shapes = jax.eval_shape(lambda: net.init(KEY, (8, 8, 1)))
    rows = {kind: jnp.ones((14, 7)) for kind in ("normal", "reduce")}
    mixing = Mixing(rows, {kind: jnp.ones(14) for kind in rows})

    def forward(variables):
        images, dropout = jnp.ones((2, 8, 8, 1)), SkipDropout(KEY, 0.5)
        return net.apply(variables, images, mixing, train=True, dropout=dropout)

    jax.eval_shape(forward, shapes)
    states = [0, 1, 2, 3, 4]
    assert drawn == [0, *states, 1, *states, 2, *states]
