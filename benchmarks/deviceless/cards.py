"""Describes GPUs: to XLA, as the target of a compilation, and to the roofline.

The numbers are public: NVIDIA's data sheets (H200 SXM5 141 GB, H100 SXM5 80 GB, A100
SXM4 80 GB, GeForce RTX 4090) and, for what a block and a multiprocessor may hold, the
tables of compute capabilities in the CUDA C++ Programming Guide. Products are those of
dense matrices with sums in float32; a multiply-add counts as two operations. Memory and
L2 cache of the H200 are what its driver reports.
"""

from typing import NamedTuple

from egnas_jax.lookup import lookup

GIB, MIB, KIB = 2**30, 2**20, 2**10
LANES = (
    128  # float32 lanes of a multiprocessor, and bytes that its L1 cache gives a clock
)
A100_LANES = 64


class Card(NamedTuple):
    """A GPU.

    Attributes:
      name: as the driver reports it.
      capability: compute capability, (major, minor).
      multiprocessors: number of streaming multiprocessors.
      lanes: float32 lanes of each.
      clock_hz: boost clock.
      memory_bytes, memory_bytes_per_s: size and peak bandwidth of its memory.
      l2_bytes: size of the L2 cache.
      shared_bytes: shared memory of a multiprocessor; a block may take 1 KiB less.
      threads: most threads of a multiprocessor.
      products_per_s: peak operations of matrix products by precision, named as in
        `rows.PRECISIONS`.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    lanes: int
    clock_hz: float
    memory_bytes: int
    memory_bytes_per_s: float
    l2_bytes: int
    shared_bytes: int
    threads: int
    products_per_s: dict[str, float]


CARDS = {
    "h100": Card(
        name="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        multiprocessors=132,
        lanes=128,
        clock_hz=1.98e9,
        memory_bytes=80 * GIB,
        memory_bytes_per_s=3.35e12,
        l2_bytes=50 * MIB,
        shared_bytes=228 * KIB,
        threads=2048,
        products_per_s={"float32": 67e12, "default": 494e12, "bfloat16": 989e12},
    ),
    # the processor of an H100 with more and faster memory
    "h200": Card(
        name="NVIDIA H200",
        capability=(9, 0),
        multiprocessors=132,
        lanes=128,
        clock_hz=1.98e9,
        memory_bytes=143_771 * MIB,
        memory_bytes_per_s=4.8e12,
        l2_bytes=60 * MIB,
        shared_bytes=228 * KIB,
        threads=2048,
        products_per_s={"float32": 67e12, "default": 494e12, "bfloat16": 989e12},
    ),
    "a100": Card(
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        multiprocessors=108,
        lanes=64,
        clock_hz=1.41e9,
        memory_bytes=80 * GIB,
        memory_bytes_per_s=2.04e12,
        l2_bytes=40 * MIB,
        shared_bytes=164 * KIB,
        threads=2048,
        products_per_s={"float32": 19.5e12, "default": 156e12, "bfloat16": 312e12},
    ),
    "rtx4090": Card(
        name="NVIDIA GeForce RTX 4090",
        capability=(8, 9),
        multiprocessors=128,
        lanes=128,
        clock_hz=2.52e9,
        memory_bytes=24 * GIB,
        memory_bytes_per_s=1.01e12,
        l2_bytes=72 * MIB,
        shared_bytes=100 * KIB,
        threads=1536,
        products_per_s={"float32": 82.6e12, "default": 82.6e12, "bfloat16": 165e12},
    ),
}
# Numbers that stand here are equal for all compute capabilities from 8.0 to 9.0.
_TARGET = """\
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {card.shared_bytes}
  threads_per_core_limit: {card.threads}
  core_count: {card.multiprocessors}
  fpus_per_core: {card.lanes}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {card.l2_bytes}
  clock_rate_ghz: {clock}
  device_memory_size: {card.memory_bytes}
  shared_memory_per_block_optin: {block_bytes}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_vendor: "NVIDIA Corporation"
  platform_version: "Compute Capability {major}.{minor}"
  device_address_bits: 64
  ecc_enabled: {ecc}
  name: "{card.name}"
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.15.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 15 patch: 0 }}
device_description_str: "{card.name}"
"""


def card_named(name: str) -> Card:
    """Looks a card up.

    Raises:
      ValueError: no card has this name.
    """
    return lookup(CARDS, name, "card")


def target_description(card: Card) -> str:
    """Describes a card as XLA's `GpuTargetConfigProto` in text."""
    major, minor = card.capability
    return _TARGET.format(
        card=card,
        bandwidth=round(card.memory_bytes_per_s),
        clock=card.clock_hz / 1e9,
        block_bytes=card.shared_bytes - KIB,
        major=major,
        minor=minor,
        ecc="false" if "GeForce" in card.name else "true",
    )
