"""Divides the individuals of a population, and the images of a batch, among devices.

Weights, alpha and the strategy's state are replicated; a device works on its share and
the results are gathered. Both divisions are `jax.shard_map`s, so a device runs the same
program as a single device would:

- An individual is computed by one device alone. Its results are bit for bit those of a
  single device; where a device has only one individual they may differ in the last bit,
  because XLA inlines a loop of one iteration.
- A weight step all-reduces its gradients, and each batch norm its moments
  (nn/sync_batch_norm.py). The order of the sums differs from a single device's, so the
  weights agree to rounding.

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
ROWS = "rows"  # the same devices, while they divide rows


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
    return None if count == 1 else _in_a_row(devices[:count], DEVICES)


def _in_a_row(devices, name: str) -> Mesh:
    return Mesh(np.asarray(devices), (name,), axis_types=(AxisType.Auto,))


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


def describe(
    mesh: Mesh | None,
    individuals: int | None,
    batch_size: int,
    shards: int | None = None,
) -> dict | None:
    """Describes how devices divide the work, for environment.json; None without a mesh.

    Args:
      mesh: of the run.
      individuals: evaluated together, P; None for a method without a population.
      batch_size: images of a weight step, N.
      shards: number of shards that the devices share, see training/shards.py; None
        where there are none.
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
        "shards": shards,
        "population": individuals and _division(individuals, mesh, shards),
        "images": {"batch": batch_size, "per_device": batch_size // mesh.size},
    }


def _division(rows: int, mesh: Mesh, shards: int | None) -> dict:
    """The range of rows of each device; rows beyond the last one are padding."""
    parts = shards or mesh.size
    share = -(-rows // parts) * (parts // mesh.size)
    starts = [share * i for i in range(mesh.size)]
    ends = [(min(start, rows), min(start + share, rows)) for start in starts]
    return {
        "individuals": rows,
        "padded": share * mesh.size,
        "per_device": share,
        "of_device": ends,
    }


def over_rows(
    mesh: Mesh | None, function: Callable, rows: PyTree, *shared: PyTree
) -> PyTree:
    """Computes function(rows, *shared), each device for a range of the rows.

    Args:
      mesh: None calls `function` as it is.
      function: rows [P, ...] -> results [P, ...]; rows do not depend on each other.
      rows: leaves [P, ...]. Where S does not divide P the last row is repeated, and
        the results of its copies are dropped.
      shared: replicated arguments.

    Returns:
      Results of the P rows in their order, replicated.
    """
    if mesh is None:
        return function(rows, *shared)
    total = len(jax.tree.leaves(rows)[0])
    share = -(-total // mesh.size)

    def on_device(rows, *shared):
        index = share * lax.axis_index(ROWS) + jnp.arange(share)
        # "clip" repeats the last row for indices beyond the end
        part = jax.tree.map(lambda leaf: jnp.take(leaf, index, 0, mode="clip"), rows)
        return lax.all_gather(function(part, *shared), ROWS, tiled=True)

    results = _on_devices(mesh, ROWS, on_device, *[PartitionSpec()] * (1 + len(shared)))
    return jax.tree.map(lambda leaf: leaf[:total], results(rows, *shared))


def over_images(
    mesh: Mesh | None, function: Callable, batch: PyTree, *shared: PyTree
) -> tuple[PyTree, PyTree]:
    """Computes function(batch, *shared), each device for a share of the images.

    Args:
      mesh: None calls `function` as it is. Where S does not divide N, as may be the
        case for the last batch of an epoch, every device computes the whole batch.
      function: batch [N, ...] -> sums over its images, and results that are equal on
        all devices.
      batch: leaves [N, ...].
      shared: replicated arguments.

    Returns:
      Both results for the whole batch, replicated.
    """
    if mesh is None or len(jax.tree.leaves(batch)[0]) % mesh.size:
        return function(batch, *shared)

    def on_device(batch, *shared):
        sums, equal = function(batch, *shared)
        return lax.psum(sums, IMAGES), equal

    specs = [PartitionSpec(IMAGES), *[PartitionSpec()] * len(shared)]
    return _on_devices(mesh, IMAGES, on_device, *specs)(batch, *shared)


def _on_devices(mesh: Mesh, name: str, function: Callable, *in_specs: PartitionSpec):
    """`jax.shard_map` over the devices of a mesh, whose axis gets the name."""
    return jax.shard_map(
        function,
        mesh=_in_a_row(mesh.devices, name),
        in_specs=in_specs,
        out_specs=PartitionSpec(),
        check_vma=False,  # custom gradients do not declare what varies
    )
