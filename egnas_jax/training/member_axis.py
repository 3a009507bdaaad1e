"""Maps a function over the members of a batch, which one device or several compute.

The members of a batch are runs that one program computes side by side. Each leaf of an
argument has them as its first axis, or is the same for all of them; a tree of axes
says which (0, or None). On several devices each computes a range of the members with
the program that a single device would run for as many, so the members of a device have
the bits that they have on any other one. No device waits for another: members exchange
nothing.

Dims: M members, D devices.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from egnas_jax.types import PyTree

MEMBERS = "members"  # the axis of the mesh of a batch


class Axes(NamedTuple):
    """Which leaves of a function of one member differ between members.

    Attributes:
      inputs: of each argument, a prefix of its tree: 0 where members differ, or None.
      outputs: of the result.
    """

    inputs: tuple
    outputs: PyTree


def members_mesh(devices: int) -> Mesh | None:
    """Makes the mesh of a batch from the first devices of this process.

    Args:
      devices: D, at most as many as there are; None is returned for one of them.
    """
    if devices == 1:
        return None
    chosen = np.asarray(jax.local_devices()[:devices])
    return Mesh(chosen, (MEMBERS,), axis_types=(AxisType.Auto,))


def over_devices(several: Callable, axes: Axes, mesh: Mesh | None) -> Callable:
    """Returns the function in which each device computes its own members.

    Args:
      several: a function of M members; with a mesh, D divides M.
      axes: of its arguments and of its result.
      mesh: the result of `members_mesh`; None returns `several` as it is.
    """
    if mesh is None:
        return several
    return jax.shard_map(
        several,
        mesh=mesh,
        in_specs=_mapped(_spec, axes.inputs),
        out_specs=_mapped(_spec, axes.outputs),
        check_vma=False,  # custom gradients do not declare what varies
    )


def jit_over_devices(
    several: Callable, axes: Axes, mesh: Mesh | None, *, name: str, **options: Any
) -> Callable:
    """Wraps the function of `over_devices` in `jax.jit`.

    Args:
      several, axes, mesh: see `over_devices`.
      name: of the compiled program.
      options: arguments of `jax.jit`.
    """
    divided = over_devices(several, axes, mesh)

    def program(*arguments):
        return divided(*arguments)

    program.__name__ = name
    if mesh is not None:
        options["in_shardings"] = shardings(mesh, axes.inputs)
        options["out_shardings"] = shardings(mesh, axes.outputs)
    return jax.jit(program, **options)


def shardings(mesh: Mesh | None, axes: PyTree) -> PyTree:
    """Returns where the leaves of a tree lie; None without a mesh.

    Args:
      mesh: the result of `members_mesh`.
      axes: of the tree.
    """
    if mesh is None:
        return None
    return _mapped(lambda axis: NamedSharding(mesh, _spec(axis)), axes)


def put(mesh: Mesh | None, tree: PyTree, axes: PyTree) -> PyTree:
    """Copies a tree to the devices, to each the part of its members."""
    return jax.device_put(tree, shardings(mesh, axes))


def shapes_of(mesh: Mesh | None, tree: PyTree, axes: PyTree) -> PyTree:
    """Returns the shapes and dtypes of a tree, and where its leaves lie."""
    if mesh is None:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(*_layout(leaf)), tree)

    def of_part(axis, part):
        place = NamedSharding(mesh, _spec(axis))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(*_layout(leaf), sharding=place), part
        )

    return jax.tree.map(of_part, axes, tree, is_leaf=_is_none)


def _layout(leaf: Any) -> tuple:
    return np.shape(leaf), leaf.dtype


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(MEMBERS)


def _mapped(function: Callable, axes: PyTree) -> PyTree:
    return jax.tree.map(function, axes, is_leaf=_is_none)


def _is_none(axis: Any) -> bool:
    return axis is None


def stack_trees(trees: Sequence[PyTree]) -> PyTree:
    """Stacks the leaves of M trees into leaves [M, ...] of the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def filled_up(entries: Mapping[int, Any], width: int) -> list:
    """Returns the entries in their slots, and copies of the first one in the others.

    Args:
      entries: slot -> entry, each slot below `width`.
      width: number of slots.
    """
    first = next(iter(entries.values()))
    return [entries.get(slot, first) for slot in range(width)]
