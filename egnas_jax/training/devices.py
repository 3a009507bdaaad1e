"""Many devices: individuals are dealt out to them, and the images of a batch.

Weights, alpha and the strategy's state are on every device alike; a device works on its
share and the results are brought together. Both divisions are `jax.shard_map`s, so that
a device runs the very program of a single one:

- an individual is computed by one device alone, as it would be without the others: its
  figures are the same to the bit, or to the last bit where a device has but one, since
  XLA compiles a loop of one turn into what surrounds it;
- a weight step adds up its gradients over the devices, and each batch norm its moments
  (nn/shared_batch.py): in another order than a single device does, so the weights agree
  to rounding.

Dims: P individuals, N images, S devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from egnas_jax.nn.sync_batch_norm import IMAGES
from egnas_jax.types import PyTree

DEVICES = "devices"  # the axis of the mesh of a run
ROWS = "rows"  # the same devices, while rows are dealt out


def make_mesh(count: int | None) -> Mesh | None:
    """The devices of a run in one row; None for one device, where nothing is divided.

    Args:
      count: S, or None for all that JAX sees, in all processes.

    Raises:
      ValueError: there are fewer, or some that belong to other processes are left out.
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
            f"{len(devices)} and none may be idle. Leave devices out."
        )
    return None if count == 1 else _in_a_row(devices[:count], DEVICES)


def _in_a_row(devices, name: str) -> Mesh:
    return Mesh(np.asarray(devices), (name,), axis_types=(AxisType.Auto,))


def check_divisible(batch_size: int, mesh: Mesh | None) -> None:
    """Refuses batches that leave devices with unequal shares.

    Raises:
      ValueError: as said.
    """
    if mesh is not None and batch_size % mesh.size:
        nearest = -(-batch_size // mesh.size) * mesh.size
        raise ValueError(
            f"batch_size is {batch_size}, no multiple of the {mesh.size} devices that "
            f"share a batch. Set batch_size to {nearest}, or devices to less."
        )


def replicate(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """Arrays of the host, or of one device, on every device of the mesh.

    With several processes each gives the same numbers.
    """
    if mesh is None:
        return jax.tree.map(jax.device_put, tree)

    def put(leaf):
        numbers = np.asarray(leaf)
        # a copy each: a donated buffer must be nobody else's
        return jax.make_array_from_callback(
            numbers.shape, everywhere(mesh), lambda index: numbers[index].copy()
        )

    return jax.tree.map(put, tree)


def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """Where a state lies; arguments that lie elsewhere would compile a program anew."""
    return mesh and NamedSharding(mesh, PartitionSpec())


def describe(
    mesh: Mesh | None, individuals: int | None, batch_size: int
) -> dict | None:
    """How the work lies on a mesh, as environment.json holds it; None without one.

    Args:
      mesh: of the run.
      individuals: evaluated together, P; None for a method without a population.
      batch_size: images of a weight step, N.
    """
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
        "population": individuals and _dealt_out(individuals, mesh),
        "images": {"batch": batch_size, "per_device": batch_size // mesh.size},
    }


def _dealt_out(rows: int, mesh: Mesh) -> dict:
    """Which rows each device works on, the first and the end; the rest is padding."""
    own = rows_per_device(rows, mesh)
    ends = [(min(own * i, rows), min(own * (i + 1), rows)) for i in range(mesh.size)]
    return {
        "individuals": rows,
        "padded": own * mesh.size,
        "per_device": own,
        "of_device": ends,
    }


def rows_per_device(rows: int, mesh: Mesh | None) -> int:
    """Of `rows` individuals, say, how many the busiest device works on."""
    return rows if mesh is None else -(-rows // mesh.size)


def over_rows(
    mesh: Mesh | None, function: Callable, rows: PyTree, *shared: PyTree
) -> PyTree:
    """function(rows, *shared), every device working on consecutive rows.

    Args:
      mesh: None calls `function` as it is.
      function: rows [P, ...] -> results [P, ...], each row for itself.
      rows: leaves [P, ...]. Where S does not divide P the last row is repeated; the
        results of these copies are cut off before anybody sees them.
      shared: what all devices read whole.

    Returns:
      Results of the P rows in their order, on every device.
    """
    if mesh is None:
        return function(rows, *shared)
    total = len(jax.tree.leaves(rows)[0])
    own = rows_per_device(total, mesh)

    def on_device(rows, *shared):
        # beyond the end an index is that of the last row
        mine = own * lax.axis_index(ROWS) + jnp.arange(own)
        part = jax.tree.map(lambda leaf: jnp.take(leaf, mine, 0, mode="clip"), rows)
        return lax.all_gather(function(part, *shared), ROWS, tiled=True)

    results = _on_devices(mesh, ROWS, on_device, *[PartitionSpec()] * (1 + len(shared)))
    return jax.tree.map(lambda leaf: leaf[:total], results(rows, *shared))


def over_images(
    mesh: Mesh | None, function: Callable, batch: PyTree, *shared: PyTree
) -> tuple[PyTree, PyTree]:
    """function(batch, *shared), every device working on an equal share of the images.

    Args:
      mesh: None calls `function` as it is; so does every device with the whole batch
        where S does not divide N, as it may be of the last batch of an epoch.
      function: batch [N, ...] -> sums over its images, and what all shares have alike.
      batch: leaves [N, ...].
      shared: what all devices read whole.

    Returns:
      Both results for the whole batch, on every device.
    """
    if mesh is None or len(jax.tree.leaves(batch)[0]) % mesh.size:
        return function(batch, *shared)

    def on_device(batch, *shared):
        sums, alike = function(batch, *shared)
        return lax.psum(sums, IMAGES), alike

    shares = PartitionSpec(IMAGES)
    whole = [PartitionSpec()] * len(shared)
    return _on_devices(mesh, IMAGES, on_device, shares, *whole)(batch, *shared)


def _on_devices(mesh: Mesh, name: str, function: Callable, *given: PartitionSpec):
    """`jax.shard_map` over the devices of a mesh under the name of what they divide."""
    return jax.shard_map(
        function,
        mesh=_in_a_row(mesh.devices, name),
        in_specs=given,
        out_specs=PartitionSpec(),
        check_vma=False,  # gradients by hand do not say what varies
    )
