"""Torch derived networks of the DARTS family (model.py), read and written.

One list says where every torch weight lies in our tree; both directions follow it.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.interop.supernet import NORM_PARAMS, NORM_STATS, names_of_primitive
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.network import describe, runs_of
from egnas_jax.nn.network_cell import stacks_of
from egnas_jax.nn.network_config import FRAMES, NetworkConfig
from egnas_jax.space import Genotype
from egnas_jax.types import PyTree


class Place(NamedTuple):
    """Where a torch weight lies.

    Attributes:
      name: torch's.
      path: of the leaf in {"params", "batch_stats"}.
      index: of the part of the leaf that it is: cell of its run, edge of its stack.
    """

    name: str
    path: tuple
    index: tuple = ()


def network_from_torch(
    weights: Mapping[str, np.ndarray], genotype: Genotype, config: NetworkConfig
) -> PyTree:
    """Variables of a derived network from the weights of a torch one.

    Args:
      weights: torch parameter and buffer names ("cells.0._ops.0.op.1.weight") ->
        arrays. The auxiliary head's must be there if the configuration has one.
      genotype, config: what the checkpoint holds.

    Returns:
      {"params", "batch_stats"} for `make_network(genotype, config).apply`.

    Raises:
      ValueError: a name is missing, unexpected or has another shape than the
        configuration asks for.
    """
    places = _places(genotype, config)
    # torch counts batches; nothing here does
    given = {n for n in weights if not n.endswith("num_batches_tracked")}
    wanted = {place.name for place in places}
    for what, names in (("missing", wanted - given), ("unexpected", given - wanted)):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")
            raise ValueError(
                f"{len(names)} weights are {what}: {shown}. Check that the genotype "
                f"and the configuration (channels, layers, auxiliary, frame) are those "
                f"of the checkpoint."
            )
    channels = np.shape(weights[places[0].name])[1]  # of the images
    variables = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        describe(genotype, config, channels),
        is_leaf=is_leaf,
    )
    for place in places:
        leaf = _leaf(variables, place)
        _fill(place, leaf, np.asarray(weights[place.name], np.float32))
    return jax.tree.map(jnp.asarray, variables)


def network_to_torch(
    variables: PyTree, genotype: Genotype, config: NetworkConfig
) -> dict[str, np.ndarray]:
    """The weights of a derived network by their torch names, as torch lays them out.

    `load_state_dict` of the DARTS family's network takes them as they are.

    Args:
      variables: {"params", "batch_stats"}.
      genotype, config: what they are the variables of.
    """
    weights = {}
    for place in _places(genotype, config):
        own = np.asarray(_leaf(variables, place)[place.index])
        weights[place.name] = np.ascontiguousarray(own.reshape(_shape(place, own)))
    return weights


def _leaf(variables: PyTree, place: Place):
    for name in place.path:
        variables = variables[name]
    return variables


def _shape(place: Place, own: np.ndarray) -> tuple[int, ...]:
    """Shape of a weight in torch: axes of size one that ours lack."""
    if place.path[-1] == "depthwise":
        return (own.shape[0], 1, *own.shape[1:])
    return (*own.shape, 1, 1) if place.path[-1] == "pointwise" else own.shape


def _fill(place: Place, leaf: np.ndarray, weight: np.ndarray) -> None:
    own = leaf[place.index]
    if weight.shape != _shape(place, own):
        raise ValueError(
            f"Weight {place.name} has shape {weight.shape}, but the configuration asks "
            f"for {_shape(place, own)}. Check channels, layers and num_classes."
        )
    leaf[place.index] = weight.reshape(own.shape)


def _places(genotype: Genotype, config: NetworkConfig) -> list[Place]:
    """Every weight of the network."""
    places = [*_stem(config)]
    for run, (plan, indices) in enumerate(runs_of(genotype, config)):
        for position, index in enumerate(indices):
            prefix, path = f"cells.{index}", ("runs", run)
            places += _preprocess(plan, f"{prefix}.preprocess", path, position)
            for stack in stacks_of(genotype, plan.kind):
                for edge, pair in enumerate(stack.edges):
                    places += _primitive(
                        stack,
                        f"{prefix}._ops.{pair}.",
                        (*path, "edges", stack.name),
                        (position, edge),
                        plan.channels,
                    )
    places += _auxiliary(config) if config.auxiliary else []
    return [*places, *_classifier("classifier", ("classifier",))]


def _norm(name: str, path: tuple, index: tuple) -> Iterator[Place]:
    for theirs, ours in NORM_PARAMS.items():
        yield Place(f"{name}.{theirs}", ("params", *path, ours), index)
    for theirs, ours in NORM_STATS.items():
        yield Place(f"{name}.{theirs}", ("batch_stats", *path, ours), index)


def _classifier(name: str, path: tuple) -> Iterator[Place]:
    yield Place(f"{name}.weight", ("params", *path, "kernel"))
    yield Place(f"{name}.bias", ("params", *path, "bias"))


# convolution and norm of each part of the stem; ReLUs count as positions
_STEMS = {
    "cifar": (("stem.0", "stem.1"),),
    "imagenet": (
        ("stem0.0", "stem0.1"),
        ("stem0.3", "stem0.4"),
        ("stem1.1", "stem1.2"),
    ),
}


def _stem(config: NetworkConfig) -> Iterator[Place]:
    for position, (conv, norm) in enumerate(_STEMS[config.frame]):
        yield Place(f"{conv}.weight", ("params", "stem", position, "conv"))
        yield from _norm(norm, ("stem", position, "norm"), (0,))


def _halves(prefix: str, path: tuple, index: tuple, channels: int) -> Iterator[Place]:
    """A factorised reduction: two convolutions, half of the output channels each."""
    half = channels // 2
    for name, rows in (("conv_1", slice(half)), ("conv_2", slice(half, None))):
        yield Place(
            f"{prefix}{name}.weight", ("params", *path, "pointwise"), (*index, rows)
        )
    yield from _norm(f"{prefix}bn", (*path, "norm"), index)


def _preprocess(plan, prefix: str, path: tuple, position: int) -> Iterator[Place]:
    for number, name in enumerate(("s0", "s1")):
        own, index = (*path, name), (position, 0)
        if number == 0 and plan.reduced_before:
            yield from _halves(f"{prefix}0.", own, index, plan.channels)
        else:
            conv = ("params", *own, "pointwise")
            yield Place(f"{prefix}{number}.op.1.weight", conv, index)
            yield from _norm(f"{prefix}{number}.op.2", (*own, "norm"), index)


def _primitive(stack, prefix, path, index, channels) -> Iterator[Place]:
    """Weights of one edge."""
    if stack.identity or stack.primitive == "none" or "pool" in stack.primitive:
        return
    if stack.primitive == "skip_connect":
        yield from _halves(prefix, path, index, channels)
        return
    for theirs, ours in names_of_primitive(stack.primitive).items():
        if ours[-1] == "norm":
            yield from _norm(prefix + theirs, (*path, *ours), index)
        else:
            yield Place(prefix + theirs, ("params", *path, *ours), index)


def _auxiliary(config: NetworkConfig) -> Iterator[Place]:
    head, path = "auxiliary_head", ("auxiliary",)
    yield Place(f"{head}.features.2.weight", ("params", *path, "pointwise"), (0,))
    yield from _norm(f"{head}.features.3", (*path, "first_norm"), (0,))
    yield Place(f"{head}.features.5.weight", ("params", *path, "conv"))
    if FRAMES[config.frame].second_norm:
        yield from _norm(f"{head}.features.6", (*path, "second_norm"), (0,))
    yield from _classifier(f"{head}.classifier", (*path, "classifier"))
