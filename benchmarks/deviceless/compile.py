"""Compiles functions for a GPU that this machine does not have.

jaxlib's CUDA plugin compiles for a card by its description alone; the compiler and the
libraries that it calls come with the wheels of the extra `bench-gpu`. Two things differ
from a compilation beside the card. Convolutions and products take the default algorithm
instead of the one that autotuning finds, and its workspace is not reserved.
"""

import contextlib
import importlib.util
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from benchmarks.deviceless.cards import Card, target_description
from benchmarks.deviceless.graphs import kernels_in_graphs
from benchmarks.deviceless.kernels import Kernel
from benchmarks.deviceless.pallas_cost import pallas_kernels
from benchmarks.programs import reserved_bytes
from egnas_jax.training import out_of_memory
from egnas_jax.types import PyTree

# The share of a card's memory that jax reserves by default.
MEMORY_SHARE = 0.75
INSTALL = 'pip install -e ".[bench-gpu]"'


class Compiled(NamedTuple):
    """A program that was compiled for a card.

    Attributes:
      text: optimised HLO.
      trace_s, compile_s: seconds to trace and lower, and to compile and write XLA's
        files.
      temporary_bytes: memory for what lives within a call.
      reserved_bytes: that, arguments and results; donated arguments count once.
      in_graphs: instructions whose kernels CUDA graphs launch, see graphs.py.
      pallas: its Pallas kernels, about which the text says little.
    """

    text: str
    trace_s: float
    compile_s: float
    temporary_bytes: int
    reserved_bytes: int
    in_graphs: frozenset[str] = frozenset()
    pallas: tuple[Kernel, ...] = ()


def is_installed() -> bool:
    """Whether the packages of the extra `bench-gpu` are there."""
    return importlib.util.find_spec("jax_cuda13_plugin") is not None


def prepare() -> None:
    """Sets jax up for a machine without a card; call it before anything is computed."""
    jax.config.update("jax_platforms", "cpu")
    # Without it, the CUDA plugin refuses to load where there is no driver.
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    # A program from a cache would write no files, and take no time.
    jax.config.update("jax_enable_compilation_cache", False)


def device_of(card: Card) -> jax.Device:
    """Makes a device that programs can be compiled for, but not run on."""
    topology = topologies.get_topology_desc(
        platform="cuda",
        topology_name=card.name,
        topology="1x1x1",  # processes, hosts, devices
        target_config=target_description(card),
    )
    return topology.devices[0]


@contextlib.contextmanager
def as_if_on(card: Card) -> Iterator[None]:
    """Lets the package build what it would build beside an idle card.

    The package chooses kernels by the name of the default backend, and chunks by the
    free memory. Functions that were traced for another backend are forgotten, before
    and after.
    """
    free = round(MEMORY_SHARE * card.memory_bytes)
    jax.clear_caches()
    with (
        mock.patch.object(jax, "default_backend", lambda: "gpu"),
        mock.patch.object(out_of_memory, "free_on_device", lambda: free),
    ):
        yield
    jax.clear_caches()


def compile_for(
    device: jax.Device,
    function: Callable,
    arguments: tuple,
    precision: str | None,
    *,
    files: pathlib.Path | None = None,
) -> Compiled:
    """Traces and compiles a function for a device of `device_of`.

    Args:
      device: the target.
      function: a result of `jax.jit`.
      arguments: arrays or their shapes; their values do not matter.
      precision: of `jax.default_matmul_precision`; None for jax's default.
      files: folder of its own in which XLA's files stay, the PTX of every kernel among
        them; None: they are read and removed.
    """
    shapes = shapes_on(device, arguments)
    started = time.perf_counter()
    with jax.default_matmul_precision(precision):
        trace = function.trace(*shapes)
        lowered = trace.lower(lowering_platforms=("cuda",))
        traced = time.perf_counter()
        with contextlib.ExitStack() as stack:
            folder = files or stack.enter_context(tempfile.TemporaryDirectory())
            program = lowered.compile(compiler_options={"xla_dump_to": str(folder)})
            compiled = time.perf_counter()
            in_graphs = kernels_in_graphs(pathlib.Path(folder))
    return Compiled(
        text=program.as_text(),
        trace_s=traced - started,
        compile_s=compiled - traced,
        in_graphs=in_graphs,
        temporary_bytes=program.memory_analysis().temp_size_in_bytes,
        reserved_bytes=reserved_bytes(program),
        pallas=pallas_kernels(trace.jaxpr),
    )


def shapes_on(device: jax.Device, tree: PyTree) -> PyTree:
    """The shapes of a tree's leaves, as arguments of a program for the device."""
    sharding = jax.sharding.SingleDeviceSharding(device)

    def shape(leaf):
        if not hasattr(leaf, "shape"):
            leaf = jnp.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(shape, tree)
