"""Predicts the latency of networks from a table that is measured once for a device.

The table holds, for each primitive, number of channels, side of the state and stride,
what one edge takes: a loop of `LOOPS` edges is run, so that calling the program counts
little. What surrounds the edges (stem, preprocessing, concatenations and classifier) is
the frame: a network whose edges are all one cheap primitive is measured, and the edges
are taken off. The prediction adds up frame and edges.

The table is a JSON file beside the compiled programs. Its name is a digest of what it
depends on: the kind of device, the version of jaxlib, the dtype, the size of batches,
the network, the space and its primitives, with the digests of the plug-ins that they
are of. A table with primitives of a script is measured, too, but not stored, since
nothing tells whether they have changed.

Dims: G kinds of cells, E edges, K primitives, C channels, S side, N images.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.cell_plan import NUM_STAGES, stage_cells, stage_channels
from egnas_jax.nn.drawing_keys import edge_keys
from egnas_jax.nn.edge_costs import CountedNetwork, EdgeCosts
from egnas_jax.nn.init import draw
from egnas_jax.nn.network_config import FRAMES, cell_plan
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import BUILT_IN, PRIMITIVES, kernel_of
from egnas_jax.space import Genotype, Space, Topology
from egnas_jax.storage import records
from egnas_jax.training.latency import REPEATS, latency, median_seconds
from egnas_jax.training.processors import processor_model, usable_cores
from egnas_jax.training.program_store import cache_folder

LOOPS = 20  # edges of one program
ROUNDS = 3  # medians of which the least counts
FOLDER, NANOSECONDS = "latencies", 1e9
DTYPE = "float32"


class EdgePlace(NamedTuple):
    """Where an edge is, as far as its latency depends on it.

    Attributes:
      channels: C.
      side: S of the state that the edge leaves, pixels.
      stride: 1 or 2.
    """

    channels: int
    side: int
    stride: int


def latency_costs(
    space: Space,
    network: CountedNetwork,
    batch_size: int = 1,
    *,
    plugins: list | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> EdgeCosts:
    """Reads the table of this device, or measures it and stores it.

    Args:
      space: of the cells.
      network: around the cells, with its images.
      batch_size: images of a batch.
      plugins: digests of the plug-ins that primitives of the space are of (see
        `runs.plugins.identity_of_primitives`); None where none is, or one is of a
        script.
      log: called with a note before a measurement, which takes about a minute.

    Returns:
      Nanoseconds for a batch: those of the frame, and of each primitive of each edge.

    Raises:
      ValueError: the networks of the space's cells cannot be built.
    """
    identity = table_identity(space, network, batch_size)
    if plugins:
        identity["plugins"] = json.loads(json.dumps(plugins))  # as it is stored
    path = table_path(identity)
    if path is not None and path.is_file():
        stored = records.read_object(path, "Remove it, and it is measured again.")
        if stored.get("identity") == identity:
            return _as_costs(space, stored["nanoseconds"])
    log(
        f"Measuring the latencies of the primitives of {space.name} on "
        f"{identity['device']}, once for this network and batches of {batch_size}."
    )
    costs = measure_costs(space, network, batch_size)
    is_known = all(PRIMITIVES[name] is BUILT_IN.get(name) for name in space.primitives)
    if path is not None and (is_known or plugins):
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = [costs.base, *costs.edges.ravel().tolist()]
        records.write_json(path, {"identity": identity, "nanoseconds": numbers})
    return costs


def table_identity(space: Space, network: CountedNetwork, batch_size: int) -> dict:
    """Returns what a table depends on, as JSON has it."""
    device, config = jax.devices()[0], dataclasses.asdict(network.config)
    kind = device.device_kind
    if device.platform == "cpu":
        kind = f"{processor_model()}, {usable_cores()} cores"
    return {
        "device": kind,
        "jaxlib": jaxlib.version.__version__,
        "dtype": DTYPE,
        "batch_size": batch_size,
        "network": {name: value for name, value in config.items() if value is not None},
        "images": list(network[1:]),
        "space": space.name,
        "edges": [list(edge) for edge in space.edges],
        "primitives": list(space.primitives),
    }


def table_path(identity: dict) -> pathlib.Path | None:
    """Returns where a table is stored; None where nothing is cached."""
    folder = cache_folder()
    if folder is None:
        return None
    text = json.dumps(identity, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    return folder / FOLDER / f"{name}.json"


def _as_costs(space: Space, numbers: list[int]) -> EdgeCosts:
    base, *edges = numbers
    shape = len(space.kinds), space.num_edges, len(space.primitives)
    return EdgeCosts(base, np.asarray(edges, np.int64).reshape(shape))


def measure_costs(space: Space, network: CountedNetwork, batch_size: int) -> EdgeCosts:
    """Measures the table of a network; arguments: see `latency_costs`."""
    measured: dict[tuple[str, EdgePlace], int] = {}

    def nanoseconds(name: str, place: EdgePlace) -> int:
        if (name, place) not in measured:
            seconds = edge_seconds(name, place, batch_size)
            measured[name, place] = round(NANOSECONDS * seconds)
        return measured[name, place]

    table = np.zeros((len(space.kinds), space.num_edges, len(space.primitives)), int)
    for kind, source_is_input, place in edge_places(space, network):
        row = [nanoseconds(name, place) for name in space.primitives]
        for edge, (source, _) in enumerate(space.edges):
            if (source < space.num_inputs) == source_is_input:
                table[space.kinds.index(kind), edge] += row
    cheap = _uniform_cell(space, "skip_connect")
    whole = latency(
        cheap,
        network=network.config,
        image_size=network.image_size,
        image_channels=network.image_channels,
        batch_size=batch_size,
        repeats=ROUNDS * REPEATS,
    )
    edges = sum(
        nanoseconds("skip_connect", place) * number
        for _, source_is_input, place in edge_places(space, network)
        for number in [_kept(cheap, source_is_input)]
    )
    return EdgeCosts(max(0, round(NANOSECONDS * whole) - edges), table.astype(np.int64))


def _uniform_cell(space: Space, name: str) -> Genotype | Topology:
    """Cells that compute one primitive: their nodes read both inputs, or all states."""
    if space.macro == Topology.macro:
        return Topology(space.num_edges * (name,), space.edges)
    pairs = space.num_nodes * [(name, 0), (name, 1)]
    return Genotype(pairs, space.nodes, pairs, space.nodes)


def _kept(genotype: Genotype | Topology, source_is_input: bool) -> int:
    """How many edges of a cell leave an input, or a node; equal in all kinds."""
    return sum(
        (source < genotype.num_inputs) == source_is_input
        for _, source, _ in genotype.edges_of(genotype.kinds[0])
    )


def edge_places(
    space: Space, network: CountedNetwork
) -> Iterator[tuple[str, bool, EdgePlace]]:
    """Yields the places of the edges of every cell of a network.

    Yields:
      Kind of the cell, whether the source of the edge is an input, and its place.
    """
    if space.macro == Topology.macro:
        yield from _places_of_stages(space.kinds[0], network)
        return
    side = network.image_size
    for _, stride in FRAMES[network.config.frame].stem:
        side = -(-side // stride)
    for cell in cell_plan(_uniform_cell(space, "skip_connect"), network.config):
        yield cell.kind, True, EdgePlace(cell.channels, side, 1 + cell.reduction)
        side = -(-side // 2) if cell.reduction else side
        yield cell.kind, False, EdgePlace(cell.channels, side, 1)


def _places_of_stages(
    kind: str, network: CountedNetwork
) -> Iterator[tuple[str, bool, EdgePlace]]:
    """`edge_places` of a network of cells with one input, in which no edge strides."""
    config = network.config
    for stage in range(NUM_STAGES):
        side = -(-network.image_size // 2**stage)
        place = EdgePlace(stage_channels(config.channels, stage), side, 1)
        for _ in range(stage_cells(config.layers)):
            yield kind, True, place
            yield kind, False, place


def edge_seconds(name: str, place: EdgePlace, batch_size: int) -> float:
    """Measures what one edge of a derived network takes, in evaluation.

    Args:
      name: of the primitive.
      place: of the edge.
      batch_size: N.

    Returns:
      Seconds, with the addition to the node's sum.
    """
    if name == "none":
        return 0.0
    kernel, optional = kernel_of(name), {}
    if kernel.draws:
        optional["keys"] = edge_keys(jax.random.key(2), name, (0,))
    leaves = kernel.init(1, place.channels, place.stride, True)
    params, stats = draw(jax.random.key(0), leaves)
    state = (place.channels, place.side, place.side, batch_size)
    x = jax.random.normal(jax.random.key(1), state, jnp.float32)

    def edge(params, stats, x):
        kernels = lowering.kernels_for("auto", False, x.shape[1])
        output, _ = kernel.apply(
            params,
            stats,
            source_of(x[None]),
            stride=place.stride,
            train=False,
            kernels=kernels,
            **optional,
        )
        return output.value()[0]

    def run(params, stats, x):
        def step(_, total):
            # The factor is 1, but depends on the step before, so no step is left out.
            factor = 1.0 + 0.0 * total.ravel()[0]
            return 0.5 * total + edge(params, stats, factor * x)

        shape = jax.eval_shape(edge, params, stats, x)
        return lax.fori_loop(0, LOOPS, step, jnp.zeros(shape.shape, shape.dtype))

    program = jax.jit(run).lower(params, stats, x).compile()
    # Other programs of the machine can only slow a measurement down.
    medians = [median_seconds(program, (params, stats, x)) for _ in range(ROUNDS)]
    return min(medians) / LOOPS
