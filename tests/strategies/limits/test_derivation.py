"""The derivation under limits finds what trying all cells finds."""

import itertools

import jax
import numpy as np
import pytest

import egnas_jax as eg
from egnas_jax.nn.edge_costs import EdgeCosts
from egnas_jax.search.relax import unflatten
from egnas_jax.space import Space
from egnas_jax.strategies.limits.config import Limit
from egnas_jax.strategies.limits.costs import LimitedCost, limited_costs
from egnas_jax.strategies.limits.derivation import (
    check_limits,
    derive_limited,
    least_cost,
)
from egnas_jax.strategies.limits.derived import derived_mixing

SMALL = Space(
    name="small",
    primitives=("none", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"),
    num_nodes=2,
)
STAGES = eg.SPACES["nasbench201"]

# two edges a node, one primitive an edge, and primitives that differ by edge
EACH_KIND = [eg.SPACES[name] for name in ("darts7", "nasbench201", "robust_s1")]
EACH_KIND.append(SMALL)


def random_mixing(space, seed, edges=False):
    alpha = jax.random.normal(jax.random.key(seed), (space.dim,))
    mixing = eg.softmax_mixing(unflatten(space, alpha))
    if edges:
        weights = jax.random.uniform(jax.random.key(seed + 99), (space.num_edges,))
        mixing = mixing.replace(edges=dict.fromkeys(space.kinds, weights))
    return mixing


def cells_of_kind(space):
    """All cells of one kind as pairs (edge, primitive) of every node."""
    if space is STAGES:
        numbers = range(len(space.primitives))
        return [list(enumerate(c)) for c in itertools.product(numbers, repeat=6)]
    nodes = []
    for target in (2, 3):
        edges = [e for e, (_, t) in enumerate(space.edges) if t == target]
        nodes.append(
            [
                [(first, p), (second, q)]
                for first, second in itertools.combinations(edges, 2)
                for p, q in itertools.product((1, 2, 3), repeat=2)
            ]
        )
    return [a + b for a, b in itertools.product(*nodes)]


def best_by_trying_all(space, weights, tables):
    """The largest sum of weights of a cell that keeps the limits, and its cost."""
    cells = np.asarray(cells_of_kind(space))  # [cells, edges kept, 2]
    sums, costs = [], {name: [] for name in tables}
    for kind in range(len(space.kinds)):
        place = kind, cells[..., 0], cells[..., 1]
        sums.append(weights[place].sum(axis=1))
        for name, table in tables.items():
            costs[name].append(table.costs.edges[place].sum(axis=1))
    joint = sums[0] if len(sums) == 1 else np.add.outer(*sums)
    kept = np.ones(joint.shape, bool)
    for name, table in tables.items():
        parts = costs[name]
        total = parts[0] if len(parts) == 1 else np.add.outer(*parts)
        kept &= table.costs.base + total <= table.limit
    return joint[kept].max() if kept.any() else None


def sum_of(space, genotype, weights):
    """The sum of a genotype's weights."""
    if space is STAGES:
        return weights[0, np.arange(6), list(genotype.choices)].sum()
    number = {edge: e for e, edge in enumerate(space.edges)}
    return sum(
        weights[k, number[source, 2 + node], space.primitives.index(name)]
        for k, kind in enumerate(space.kinds)
        for node, pairs in enumerate(genotype.blocks(kind))
        for name, source in pairs
    )


def weights_of(space, mixing):
    rows = [np.asarray(mixing.primitives[k], np.float64) for k in space.kinds]
    if space is not STAGES:
        edges = [np.asarray(mixing.edges[k], np.float64) for k in space.kinds]
        rows = [row * e[:, None] for row, e in zip(rows, edges, strict=True)]
    return np.stack(rows)


@pytest.mark.parametrize("space", [SMALL, STAGES], ids=lambda space: space.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_cell_within_the_limits_has_a_larger_sum_of_weights(space, seed):
    mixing = random_mixing(space, seed, edges=seed == 2)
    free = eg.cost(eg.derive(space, mixing))
    weights, smaller = weights_of(space, mixing), 0
    for share in (0.97, 0.9, 0.8):
        limit = Limit(params=share * free.params // 1)
        if seed == 1:
            limit = Limit(limit.params, multiply_adds=0.85 * free.multiply_adds // 1)
        tables = limited_costs(space, 10, limit)
        best = best_by_trying_all(space, weights, tables)
        if best is None:
            continue
        genotype = derive_limited(space, mixing, tables)
        counted, smaller = eg.cost(genotype), smaller + 1
        assert counted.params <= limit.params
        assert limit.multiply_adds is None or (
            counted.multiply_adds <= limit.multiply_adds
        )
        assert sum_of(space, genotype, weights) == pytest.approx(best, rel=1e-6)
    assert smaller


@pytest.mark.parametrize("space", EACH_KIND, ids=lambda space: space.name)
def test_a_limit_that_the_derived_cell_keeps_changes_nothing(space):
    for seed in range(3):
        mixing = random_mixing(space, seed, edges=seed == 1)
        genotype = eg.derive(space, mixing)
        counted = eg.cost(genotype)
        tables = limited_costs(space, 10, Limit(counted.params, counted.multiply_adds))
        assert derive_limited(space, mixing, tables) == genotype


@pytest.mark.parametrize("space", EACH_KIND, ids=lambda space: space.name)
def test_the_compiled_derivation_finds_the_genotype(space):
    compiled = jax.jit(lambda mixing: derived_mixing(space, mixing))
    for seed in range(5):
        mixing = random_mixing(space, seed, edges=seed % 2 == 1)
        cell = compiled(mixing)
        assert all(set(np.unique(leaf)) <= {0, 1} for leaf in jax.tree.leaves(cell))
        # pairs of a node come in the order of their weights, which are all equal here
        unordered = [sorted_pairs(eg.derive(space, m)) for m in (mixing, cell)]
        assert unordered[0] == unordered[1]


def sorted_pairs(genotype):
    if isinstance(genotype, eg.Topology):
        return genotype
    return [sorted(p) for kind in ("normal", "reduce") for p in genotype.blocks(kind)]


def test_the_order_of_a_node_follows_the_weights_under_a_limit():
    # One node of two kinds: only the two inputs lead to it, and convolutions cost 1.
    space = Space(name="one", primitives=("skip_connect", "sep_conv_3x3"), num_nodes=1)
    rows = np.asarray([[0.4, 0.6], [0.1, 0.9]], np.float32)
    mixing = eg.Mixing(
        dict.fromkeys(space.kinds, rows), dict.fromkeys(space.kinds, np.ones(2))
    )
    edges = np.broadcast_to([0, 1], (2, 2, 2)).astype(np.int64)
    # Of four convolutions two may stay: those of input 1, which lose most.
    tables = {"params": LimitedCost(EdgeCosts(0, edges), 2)}
    genotype = derive_limited(space, mixing, tables)
    pairs = (("sep_conv_3x3", 1), ("skip_connect", 0))
    assert genotype.normal == genotype.reduce == pairs


def test_limits_that_no_cell_keeps_are_refused_with_the_smallest_cost():
    space = eg.SPACES["darts7"]
    tables = limited_costs(space, 10, Limit(params=1e6))
    smallest = least_cost(space, tables["params"])
    with pytest.raises(ValueError, match=f"is 1,000,000.*is {smallest:,}"):
        check_limits(space, tables)
    # Without a primitive on a strided edge the smallest network has no weights in
    # edges: poolings and skips from inputs cost none in normal cells.
    pooled = eg.Genotype(
        normal=4 * [("max_pool_3x3", 0), ("max_pool_3x3", 1)],
        normal_concat=range(2, 6),
        reduce=4 * [("max_pool_3x3", 0), ("max_pool_3x3", 1)],
        reduce_concat=range(2, 6),
    )
    assert smallest == eg.cost(pooled).params
    check_limits(space, limited_costs(space, 10, Limit(params=float(smallest))))


def test_limits_that_no_cell_keeps_together_are_refused():
    space = Space(name="one", primitives=("skip_connect", "sep_conv_3x3"), num_nodes=1)
    first = np.broadcast_to([0, 1], (2, 2, 2)).astype(np.int64)
    tables = {
        "params": LimitedCost(EdgeCosts(0, first), 1),
        "multiply_adds": LimitedCost(EdgeCosts(0, 1 - first), 1),
    }
    with pytest.raises(ValueError, match="no cell of the space one keeps all"):
        check_limits(space, tables)


def test_a_limit_of_latency_needs_its_table():
    space = eg.SPACES["darts7"]
    with pytest.raises(ValueError, match="needs a table of latencies"):
        limited_costs(space, 10, Limit(latency_ms=1.0))
    numbers = (7, *range(196))
    tables = limited_costs(space, 10, Limit(latency_ms=0.5, latencies=numbers))
    costs, largest = tables["latency_ms"]
    assert largest == 500_000 and costs.base == 7
    assert costs.edges[1, 2, 3] == 98 + 2 * 7 + 3
