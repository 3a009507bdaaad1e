"""Torch search networks of the DARTS family: model_search.py and operations.py."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of, make_supernet
from egnas_jax.space import SPACES
from egnas_jax.types import PyTree

# torch name of a weight inside a primitive -> path in ours, by kind of primitive.
# Positions count the ReLU and the convolutions of the torch Sequential.
_BLOCK = {
    "op.1.weight": ("depthwise",),
    "op.2.weight": ("pointwise",),
    "op.3": ("norm",),
}
PRIMITIVE_NAMES = {
    "sep_conv": {
        **{name: ("first", *path) for name, path in _BLOCK.items()},
        "op.5.weight": ("second", "depthwise"),
        "op.6.weight": ("second", "pointwise"),
        "op.7": ("second", "norm"),
    },
    "dil_conv": _BLOCK,
    "conv_7x1": {"1.weight": ("row",), "2.weight": ("column",), "3": ("norm",)},
    "pool": {"1": ("norm",)},
    "skip_connect": {"conv": ("pointwise",), "bn": ("norm",)},
}


def names_of_primitive(primitive: str) -> dict[str, tuple[str, ...]]:
    """Names of a primitive's weights in torch -> their paths in ours."""
    if "pool" in primitive or primitive == "skip_connect":
        return PRIMITIVE_NAMES["pool" if "pool" in primitive else primitive]
    return PRIMITIVE_NAMES.get(primitive.rsplit("_", 1)[0], {})


NORM_PARAMS = {"weight": "scale", "bias": "bias"}
NORM_STATS = {"running_mean": "mean", "running_var": "var"}


class _Reader:
    """Takes weights by name and remembers what was taken and what was wrong."""

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self.weights = weights
        self.taken: set[str] = set()
        self.missing: list[str] = []

    def take(self, name: str) -> np.ndarray:
        self.taken.add(name)
        if name not in self.weights:
            self.missing.append(name)
            return np.zeros(())
        return np.asarray(self.weights[name], np.float32)

    def norm(self, prefix: str) -> tuple[dict, dict]:
        """Parameters (where the checkpoint has them) and statistics of a norm."""
        has_params = f"{prefix}.weight" in self.weights
        params = {
            ours: self.take(f"{prefix}.{theirs}")
            for theirs, ours in (NORM_PARAMS if has_params else {}).items()
        }
        stats = {
            ours: self.take(f"{prefix}.{theirs}") for theirs, ours in NORM_STATS.items()
        }
        return params, stats

    def check(self) -> None:
        """Raises ValueError if names are missing or were not asked for."""
        # torch counts batches; nothing here does
        ignored = {n for n in self.weights if n.endswith("num_batches_tracked")}
        left = sorted(set(self.weights) - self.taken - ignored)
        for what, names in (("missing", self.missing), ("unexpected", left)):
            if names:
                shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
                raise ValueError(
                    f"{len(names)} weights are {what}: {shown}. Check that the "
                    f"configuration (channels, layers, partial channels, space, "
                    f"pool_bn) is the one the checkpoint was trained with."
                )


def primitive_from_torch(
    weights: Mapping[str, np.ndarray], primitive: str, prefix: str = ""
) -> tuple[PyTree, PyTree]:
    """Parameters and statistics of one candidate operation, without an edge axis.

    Args:
      weights: torch names (after `prefix`) -> arrays.
      primitive: its name.
      prefix: what stands before the operation's own names.

    Raises:
      ValueError: names are missing or left over.
    """
    own = {
        k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)
    }
    reader = _Reader(own)
    trees = _read_primitive(reader, "", primitive)
    reader.check()
    return trees


def supernet_from_torch(
    weights: Mapping[str, np.ndarray], config: SupernetConfig
) -> PyTree:
    """Variables of a supernet from the weights of a torch search network.

    Args:
      weights: torch parameter and buffer names ("cells.0._ops.0._ops.3.op.1.weight")
        -> arrays. Alphas are no weights: leave them out.
      config: what the checkpoint holds.

    Returns:
      {"params", "batch_stats"} for `make_supernet(config).apply`.

    Raises:
      ValueError: a name is missing, unexpected or has another shape than the
        configuration asks for; the space is not of the DARTS family.
    """
    if SPACES[config.space].family != "darts":
        raise ValueError(
            f"Torch weights can be read of networks of the DARTS family, and the space "
            f"is {config.space}."
        )
    reader, space, cells = _Reader(weights), SPACES[config.space], cells_of(config)
    stem, stem_stats = reader.norm("stem.1")
    stem_conv = reader.take("stem.0.weight")
    preprocess = [_read_preprocess(reader, i, plan) for i, plan in enumerate(cells)]
    groups = []
    for group in groups_of(config):
        trees = [
            _read_cell(reader, space, f"cells.{i}._ops", cells[i].reduction)
            for i in group
        ]
        groups.append(_stack(trees) if not reader.missing else ([], []))
    classifier = {
        "kernel": reader.take("classifier.weight"),
        "bias": reader.take("classifier.bias"),
    }
    reader.check()
    params = {
        "stem": {"conv": stem_conv, "norm": _edge_axis(stem)},
        "preprocess": [_edge_axis(p) for p, _ in preprocess],
        "groups": [p for p, _ in groups],
        "classifier": classifier,
    }
    stats = {
        "stem": _edge_axis(stem_stats),
        "preprocess": [_edge_axis(s) for _, s in preprocess],
        "groups": [s for _, s in groups],
    }
    variables = {"params": params, "batch_stats": stats}
    _check_shapes(variables, config, stem_conv.shape[1])
    return jax.tree.map(jnp.asarray, variables)


def _edge_axis(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _place(tree: dict, path: tuple[str, ...], leaf) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf


def _read_primitive(reader: _Reader, prefix: str, primitive: str):
    """Trees of one operation; nothing for one that has no weights there."""
    params, stats = {}, {}
    present = [name for name in reader.weights if name.startswith(prefix)]
    optional = "pool" in primitive or primitive in ("skip_connect", "none")
    if optional and not present:
        return params, stats
    for theirs, path in names_of_primitive(primitive).items():
        if path[-1] == "norm":
            own, moving = reader.norm(prefix + theirs)
            _place(params, path, own)
            _place(stats, path, moving)
        elif theirs == "conv":
            _place(params, path, _read_halves(reader, prefix))
        else:
            weight = reader.take(prefix + theirs)
            _place(params, path, _layout(path[-1], weight))
    return params, stats


def _layout(role: str, weight: np.ndarray) -> np.ndarray:
    """Drops the axes that torch keeps at size one."""
    if weight.ndim != 4:
        return weight  # a missing or misshapen one: reported later
    if role == "depthwise":
        return weight[:, 0]
    return weight[:, :, 0, 0] if role == "pointwise" else weight


def _read_halves(reader: _Reader, prefix: str) -> np.ndarray:
    """Both convolutions of a factorized reduction as one kernel [out, in]."""
    names = ("conv_1.weight", "conv_2.weight")
    halves = [_layout("pointwise", reader.take(prefix + name)) for name in names]
    return np.concatenate([np.atleast_1d(half) for half in halves])


def _read_preprocess(reader: _Reader, index: int, plan):
    """Both preprocessings of a cell."""
    params, stats = {}, {}
    for position, name in enumerate(("s0", "s1")):
        prefix = f"cells.{index}.preprocess{position}"
        if position == 0 and plan.reduced_before:
            weight, norm = _read_halves(reader, f"{prefix}."), f"{prefix}.bn"
        else:
            weight = _layout("pointwise", reader.take(f"{prefix}.op.1.weight"))
            norm = f"{prefix}.op.2"
        own, moving = reader.norm(norm)
        params[name] = {"pointwise": weight, "norm": own}
        stats[name] = {"norm": moving}
    return params, stats


def _read_cell(reader: _Reader, space, prefix: str, reduction: bool):
    """Trees of a cell, the edges of each source state stacked."""
    params, stats = [], []
    for outgoing in out_edges(space, reduction):
        trees = {}
        for position, name in enumerate(space.primitives):
            read = [
                _read_primitive(reader, f"{prefix}.{e}._ops.{position}.", name)
                for e in outgoing.edges
            ]
            # every edge of a state has the same pooling norm, and ours is shared
            read = read[:1] if "pool" in name else read
            trees[name] = _stack(read) if not reader.missing else ({}, {})
        params.append({name: p for name, (p, _) in trees.items() if p})
        stats.append({name: s for name, (_, s) in trees.items() if s})
    return params, stats


def _check_shapes(variables: PyTree, config: SupernetConfig, channels: int) -> None:
    """Raises ValueError naming the first leaf of another shape than configured."""
    init = make_supernet(config).init
    expected = jax.eval_shape(
        lambda key: init(key, (32, 32, channels)), jax.random.key(0)
    )
    given = dict(jax.tree_util.tree_leaves_with_path(variables))
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        found = given.pop(path, None)
        if found is None or np.shape(found) != leaf.shape:
            raise ValueError(
                f"Weight {jax.tree_util.keystr(path)} has shape "
                f"{None if found is None else np.shape(found)}, but the configuration "
                f"asks for {leaf.shape}. Check channels, layers, partial_channels, "
                f"num_classes and pool_bn."
            )
    if given:
        raise ValueError(
            f"The checkpoint holds {len(given)} weights that the configuration does "
            f"not have, the first {jax.tree_util.keystr(next(iter(given)))}."
        )
