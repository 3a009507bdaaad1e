"""Divides populations and batches into shards, whatever the number of devices.

Without shards the devices divide the work (training/devices.py), so another number of
devices adds in another order and agrees to rounding. With S shards a population and a
batch have S parts wherever a search runs. A device computes its parts one after another
(training/lockstep.py), so the results are bit for bit the same on any number of devices
that divides S:

- A shard of a population is computed by itself.
- The shards of a batch exchange in each batch norm (nn/sync_batch_norm.py). Their
  gradients are added in the order of the shards, on every device alike. Collectives
  copy, and add nothing.

Another S gives the same results to rounding. One shard is computed as if there were
none. Shards take longer to compile and to run (measured in docs/shards.md), so a search
has none unless it is asked to.

Dims: P individuals, N images, S shards, K shards of one device.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from egnas_jax.nn.supernet import Supernet
from egnas_jax.nn.sync_batch_norm import IMAGES
from egnas_jax.training import devices as undivided
from egnas_jax.training.devices import DEVICES, make_mesh
from egnas_jax.training.lockstep import (
    Group,
    by_turns,
    map_rows,
    packed,
    rows_of,
    run,
    stacked,
    sums_of_shards,
    turns_of,
)
from egnas_jax.types import PyTree


class Division(NamedTuple):
    """How the work on populations and batches is divided.

    Attributes:
      mesh: the devices; None for one.
      shards: S, a multiple of the number of devices; None: each device has a part.
    """

    mesh: Mesh | None = None
    shards: int | None = None

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.mesh.size if self.mesh else 1

    @property
    def parts(self) -> int:
        """Number of parts of a population or a batch."""
        return self.shards or self.devices

    @property
    def in_lockstep(self) -> bool:
        """Whether there are shards that are computed in lockstep."""
        return self.shards is not None and self.shards > 1


def division_of(net: Supernet) -> Division:
    """Returns how a network divides its work."""
    return Division(net.mesh, net.shards)


def divide(devices: int | None, shards: int | None) -> Division:
    """Chooses devices, and checks that they can share the shards.

    Args:
      devices: None for all that JAX sees; with shards, for as many of them as divide
        the shards. Several processes use all of theirs.
      shards: S, or None for no shards.

    Raises:
      ValueError: there are fewer devices, one of several processes would have none, or
        S is no multiple of their number.
    """
    if devices is None and shards is not None and jax.process_count() == 1:
        devices = max(n for n in range(1, jax.device_count() + 1) if shards % n == 0)
    division = Division(make_mesh(devices), shards)
    if division.parts % division.devices:
        multiple = -(-shards // division.devices) * division.devices
        raise ValueError(
            f"shards is {shards}, but must be a multiple of the {division.devices} "
            f"devices that share them. Set shards to {multiple}, or use a number of "
            f"devices that divides {shards}."
        )
    return division


def check_divisible(batch_size: int, division: Division) -> None:
    """Refuses a batch that cannot be divided into equal parts.

    Raises:
      ValueError: the batch size is no multiple of the number of shards, or of devices
        where there are no shards.
    """
    parts = division.parts
    if batch_size % parts == 0:
        return
    what = "devices that share a batch" if division.shards is None else "shards"
    setting = "devices" if division.shards is None else "shards"
    raise ValueError(
        f"batch_size is {batch_size}, but must be a multiple of the {parts} {what}. "
        f"Set batch_size to {-(-batch_size // parts) * parts}, or lower {setting}."
    )


def rows_per_part(rows: int, division: Division) -> int:
    """Returns how many of `rows` rows a part has, at most."""
    return -(-rows // division.parts)


def over_rows(
    division: Division, function: Callable, rows: PyTree, *shared: PyTree
) -> PyTree:
    """Computes function(rows, *shared), each part for a range of the rows.

    Args:
      division: without shards, as `devices.over_rows` does.
      function: rows [P, ...] -> results [P, ...]; rows do not depend on each other.
      rows: leaves [P, ...]. Where S does not divide P the last row is repeated, and
        the results of its copies are dropped.
      shared: replicated arguments.

    Returns:
      Results of the P rows in their order, replicated.
    """
    if not division.in_lockstep:
        return undivided.over_rows(division.mesh, function, rows, *shared)
    shards, total = division.shards, len(jax.tree.leaves(rows)[0])
    share = rows_per_part(total, division)
    index = jnp.arange(shards * share).reshape(shards, share)

    def on_device(rows, *shared):
        group = _group(division, rows)
        left = -(-total // share) - group.first  # shards from here on that have a row
        turns = turns_of(jnp.clip(left, 0, group.size), rows)
        # "clip" repeats the last row for indices beyond the end
        parts = jax.tree.map(lambda leaf: jnp.take(leaf, index, 0, mode="clip"), rows)
        group, of_device = group._replace(turns=turns), _of_device(group, parts)
        results = by_turns(group, function, of_device, *shared)
        return map_rows(lambda rows: group.gather(rows.unpacked()), results)

    results = _on_devices(division.mesh, on_device)(rows, *shared)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], results)


def over_images(
    division: Division, function: Callable, batch: PyTree, *shared: PyTree
) -> tuple[PyTree, PyTree]:
    """Computes function(batch, *shared), all shards of the batch in lockstep.

    Args:
      division: without shards, as `devices.over_images` does. Where S does not divide
        N, as may be the case for the last batch of an epoch, every device computes the
        whole batch.
      function: batch [N / S, ...] -> sums over its images, and results that are equal
        in all shards. It is traced with the axis `IMAGES` of size S.
      batch: leaves [N, ...].
      shared: replicated arguments.

    Returns:
      Both results for the whole batch, replicated.
    """
    if not division.in_lockstep:
        return undivided.over_images(division.mesh, function, batch, *shared)
    shards, total = division.shards, len(jax.tree.leaves(batch)[0])
    if total % shards:
        return function(batch, *shared)
    parts = jax.tree.map(lambda leaf: leaf.reshape(shards, -1, *leaf.shape[1:]), batch)
    trace = jax.make_jaxpr(function, axis_env=[(IMAGES, shards)], return_shape=True)

    def on_device(parts, *shared):
        group = _group(division, parts)
        rows = _of_device(group, parts)
        traced, shapes = trace(map_rows(lambda leaf: leaf.row(0), rows), *shared)
        results = run(group, traced, [*rows_of(rows), *jax.tree.leaves(shared)])
        count = len(jax.tree.leaves(shapes[0]))
        sums = sums_of_shards(group, results[:count])
        equal = [stacked(group, result)[0] for result in results[count:]]
        return jax.tree.unflatten(jax.tree.structure(shapes), [*sums, *equal])

    return _on_devices(division.mesh, on_device)(parts, *shared)


def _group(division: Division, rows: PyTree) -> Group:
    """The shards of this device, within `_on_devices`."""
    mesh, size = division.mesh, division.shards // division.devices
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
