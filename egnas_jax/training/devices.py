"""Divides populations and batches into shards, and the shards among devices.

Weights, alpha and the strategy's state are replicated. A population and a batch have S
shards each, whatever the number of devices. A device computes its shards one after
another (training/lockstep.py), and the results are gathered. So they are bit for bit
the same on any number of devices that divides S:

- A shard of a population is computed by itself.
- The shards of a batch exchange in each batch norm (nn/sync_batch_norm.py). Their
  gradients are added in the order of the shards, on every device alike. No collective
  of a backend adds anything: collectives copy alone.

Another S gives the same results to rounding. One shard is computed as if there were
none.

Dims: P individuals, N images, S shards, K shards of one device.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from egnas_jax.nn.supernet import Supernet
from egnas_jax.nn.sync_batch_norm import IMAGES
from egnas_jax.training.lockstep import (
    Group,
    by_turns,
    map_rows,
    packed,
    rows_of,
    run,
    stacked,
    sum_in_order,
    turns_of,
)
from egnas_jax.types import PyTree

DEVICES = "devices"  # the axis of the mesh of a run


class Division(NamedTuple):
    """How the work on populations and batches is divided.

    Attributes:
      mesh: the devices; None for one.
      shards: S, a multiple of the number of devices.
    """

    mesh: Mesh | None = None
    shards: int = 1

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.mesh.size if self.mesh else 1

    @property
    def shards_per_device(self) -> int:
        """K."""
        return self.shards // self.devices


def division_of(net: Supernet) -> Division:
    """Returns how a network divides its work; by default every device has one shard."""
    division = Division(net.mesh)
    return division._replace(shards=net.shards or division.devices)


def divide(devices: int | None, shards: int | None) -> Division:
    """Chooses devices, and how many shards each of them computes.

    Args:
      devices: None for as many of those that JAX sees as divide the shards. Several
        processes use all of theirs.
      shards: S, or None for one a device.

    Raises:
      ValueError: there are fewer devices, one of several processes would have none, or
        S is no multiple of their number.
    """
    if devices is None and shards is not None and jax.process_count() == 1:
        devices = max(n for n in range(1, jax.device_count() + 1) if shards % n == 0)
    division = Division(make_mesh(devices))
    division = division._replace(shards=shards or division.devices)
    if division.shards % division.devices:
        raise ValueError(
            f"shards is {shards}, but must be a multiple of the {division.devices} "
            f"devices that share them. Set shards to "
            f"{-(-shards // division.devices) * division.devices}, or use a number of "
            f"devices that divides {shards}."
        )
    return division


def make_mesh(count: int | None) -> Mesh | None:
    """Makes a mesh of one axis; None for one device, where nothing is divided.

    Args:
      count: number of devices S, or None for all that JAX sees, in all processes.

    Raises:
      ValueError: there are fewer devices, or one of several processes would have none.
    """
    devices = jax.devices()
    count = len(devices) if count is None else count
    if count > len(devices):
        raise ValueError(
            f"devices is {count}, but JAX sees {len(devices)} of kind "
            f"{devices[0].device_kind}. Set devices to none for all there are; on a "
            f"CPU the variable JAX_NUM_CPU_DEVICES={count} simulates them."
        )
    if jax.process_count() > 1 and count < len(devices):
        raise ValueError(
            f"devices is {count}, but {jax.process_count()} processes hold "
            f"{len(devices)}, and none may be idle. Leave devices out."
        )
    return None if count == 1 else _in_a_row(devices[:count])


def _in_a_row(devices) -> Mesh:
    return Mesh(np.asarray(devices), (DEVICES,), axis_types=(AxisType.Auto,))


def replicate(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Copies arrays to every device of the mesh.

    Args:
      mesh: None copies to the default device.
      tree: arrays of the host or of one device, equal in all processes.
    """
    if mesh is None:
        return jax.tree.map(jax.device_put, tree)

    def put(leaf):
        numbers = np.asarray(leaf)
        # each device gets a copy, because the buffers are donated later
        return jax.make_array_from_callback(
            numbers.shape, everywhere(mesh), lambda index: numbers[index].copy()
        )

    return jax.tree.map(put, tree)


def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """Returns the sharding of replicated arrays.

    Programs are compiled for it, and would be compiled again for another one.
    """
    return mesh and NamedSharding(mesh, PartitionSpec())


def check_divisible(batch_size: int, division: Division) -> None:
    """Refuses a batch without equal shards.

    Raises:
      ValueError: the batch size is no multiple of the number of shards.
    """
    shards = division.shards
    if batch_size % shards:
        nearest = -(-batch_size // shards) * shards
        raise ValueError(
            f"batch_size is {batch_size}, but must be a multiple of the {shards} "
            f"shards of a batch. Set batch_size to {nearest}, or lower shards; by "
            f"default each of the devices has one."
        )


def describe(
    division: Division, individuals: int | None, batch_size: int
) -> dict | None:
    """Describes how devices divide the work, for environment.json; None for one.

    Args:
      division: of the run.
      individuals: evaluated together, P; None for a method without a population.
      batch_size: images of a weight step, N.
    """
    mesh = division.mesh
    if mesh is None:
        return None
    return {
        "shape": dict(mesh.shape),
        "processes": jax.process_count(),
        "devices": [
            {
                "id": device.id,
                "process": device.process_index,
                "kind": device.device_kind,
            }
            for device in mesh.devices
        ],
        "shards": {"all": division.shards, "per_device": division.shards_per_device},
        "population": individuals and _rows_of_devices(individuals, division),
        "images": {"batch": batch_size, "per_device": batch_size // mesh.size},
    }


def _rows_of_devices(rows: int, division: Division) -> dict:
    """The range of rows of each device; rows beyond the last one are padding."""
    share = rows_per_shard(rows, division.shards) * division.shards_per_device
    starts = [share * i for i in range(division.devices)]
    ends = [(min(start, rows), min(start + share, rows)) for start in starts]
    return {
        "individuals": rows,
        "padded": share * division.devices,
        "per_device": share,
        "of_device": ends,
    }


def rows_per_shard(rows: int, shards: int) -> int:
    """Returns how many of `rows` rows a shard has, at most."""
    return -(-rows // shards)


def over_rows(
    division: Division, function: Callable, rows: PyTree, *shared: PyTree
) -> PyTree:
    """Computes function(rows, *shared), shard by shard.

    Args:
      division: one shard calls `function` as it is.
      function: rows [P, ...] -> results [P, ...]; rows do not depend on each other.
      rows: leaves [P, ...]. Where S does not divide P the last row is repeated, and
        the results of its copies are dropped.
      shared: replicated arguments.

    Returns:
      Results of the P rows in their order, replicated.
    """
    shards = division.shards
    if shards == 1:
        return function(rows, *shared)
    total = len(jax.tree.leaves(rows)[0])
    share = rows_per_shard(total, shards)
    index = jnp.arange(shards * share).reshape(shards, share)

    def on_device(rows, *shared):
        group = _group(division, rows)
        left = rows_per_shard(total, share) - group.first  # that have a row
        turns = turns_of(jnp.clip(left, 0, group.size), rows)
        # "clip" repeats the last row for indices beyond the end
        parts = jax.tree.map(lambda leaf: jnp.take(leaf, index, 0, mode="clip"), rows)
        group, own = group._replace(turns=turns), _of_device(group, parts)
        results = by_turns(group, function, own, *shared)
        return map_rows(lambda rows: group.gather(rows.unpacked()), results)

    results = _on_devices(division.mesh, on_device)(rows, *shared)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], results)


def over_images(
    division: Division, function: Callable, batch: PyTree, *shared: PyTree
) -> tuple[PyTree, PyTree]:
    """Computes function(batch, *shared), all shards of the batch in lockstep.

    Args:
      division: one shard calls `function` as it is. So do more where S does not divide
        N, as may be the case for the last batch of an epoch: every device computes the
        whole batch.
      function: batch [N / S, ...] -> sums over its images, and results that are equal
        in all shards. It is traced with the axis `IMAGES` of size S.
      batch: leaves [N, ...].
      shared: replicated arguments.

    Returns:
      Both results for the whole batch, replicated.
    """
    shards, total = division.shards, len(jax.tree.leaves(batch)[0])
    if shards == 1 or total % shards:
        return function(batch, *shared)
    parts = jax.tree.map(lambda leaf: leaf.reshape(shards, -1, *leaf.shape[1:]), batch)
    trace = jax.make_jaxpr(function, axis_env=[(IMAGES, shards)], return_shape=True)

    def on_device(parts, *shared):
        group = _group(division, parts)
        rows = _of_device(group, parts)
        traced, shapes = trace(map_rows(lambda leaf: leaf.row(0), rows), *shared)
        results = run(group, traced, [*rows_of(rows), *jax.tree.leaves(shared)])
        results = [stacked(group, result) for result in results]
        sums, equal = jax.tree.unflatten(jax.tree.structure(shapes), results)
        sums = jax.tree.map(lambda leaf: sum_in_order(group.gather(leaf)), sums)
        return sums, jax.tree.map(lambda leaf: leaf[0], equal)

    return _on_devices(division.mesh, on_device)(parts, *shared)


def _group(division: Division, rows: PyTree) -> Group:
    """The shards of this device, within `_on_devices`."""
    mesh, size = division.mesh, division.shards_per_device
    if mesh is None:
        return Group(size, 0, lambda leaf: leaf, turns_of(size, rows))
    return Group(
        size=size,
        first=size * lax.axis_index(DEVICES),
        gather=lambda leaf: lax.all_gather(leaf, DEVICES, tiled=True),
        turns=turns_of(size, rows),
    )


def _of_device(group: Group, parts: PyTree) -> PyTree:
    """The rows of the shards of this device, of leaves [S, ...]."""
    return jax.tree.map(
        lambda leaf: packed(lax.dynamic_slice_in_dim(leaf, group.first, group.size)),
        parts,
    )


def _on_devices(mesh: Mesh | None, function: Callable) -> Callable:
    """`jax.shard_map` of a function whose arguments and results are replicated.

    Arguments are not divided before they are used: XLA would divide what they are
    computed from too, and round it differently.
    """
    if mesh is None:
        return function
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
        check_vma=False,  # custom gradients do not declare what varies
    )
