"""Weights of torch checkpoints of the DARTS family, as this package's variables.

Names and layouts are those of model_search.py and operations.py: images [N, C, H, W],
kernels [out, in / groups, height, width]. No torch is needed: give numpy arrays.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.nn.cell import out_edges
from egnas_jax.nn.supernet import SupernetConfig, cells_of, groups_of
from egnas_jax.space import SPACES
from egnas_jax.types import PyTree

# torch name of a weight inside a primitive -> path in ours, by kind of primitive.
# Positions count the ReLU and the convolutions of the torch Sequential.
_BLOCK = {
    "op.1.weight": ("depthwise",),
    "op.2.weight": ("pointwise",),
    "op.3": ("norm",),
}
_PRIMITIVE_NAMES = {
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
_NORM_PARAMS = {"weight": "scale", "bias": "bias"}
_NORM_STATS = {"running_mean": "mean", "running_var": "var"}


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
            for theirs, ours in (_NORM_PARAMS if has_params else {}).items()
        }
        stats = {
            ours: self.take(f"{prefix}.{theirs}")
            for theirs, ours in _NORM_STATS.items()
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
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
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
        configuration asks for.
    """
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
    edge_axis = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
    params = {
        "stem": {"conv": stem_conv, "norm": edge_axis(stem)},
        "preprocess": [edge_axis(p) for p, _ in preprocess],
        "groups": [p for p, _ in groups],
        "classifier": classifier,
    }
    stats = {
        "stem": edge_axis(stem_stats),
        "preprocess": [edge_axis(s) for _, s in preprocess],
        "groups": [s for _, s in groups],
    }
    variables = {"params": params, "batch_stats": stats}
    _check_shapes(variables, config, stem_conv.shape[1])
    return jax.tree.map(jnp.asarray, variables)
