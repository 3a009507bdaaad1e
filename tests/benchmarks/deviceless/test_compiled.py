"""What the compiler makes of our programs for a GPU stays within bounds.

The programs are those of `--size small`: one cell, with one node in a search. All
bounds leave a tenth for another version of XLA.
"""

import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

from benchmarks.deviceless.__main__ import NOT_INSTALLED
from benchmarks.deviceless.compile import is_installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason=NOT_INSTALLED),
]
ROOT = pathlib.Path(__file__).resolve().parents[3]


class Bounds(NamedTuple):
    """Upper bounds of one step.

    Attributes:
      launches: of kernels.
      gigabytes: moved.
      transposes: launches of kernels that reorder an array.
      turns: of loops, exactly.
    """

    launches: int
    gigabytes: float
    transposes: int
    turns: int


BOUNDS = {
    # Individuals share the stem and, in the first cell, everything before the mixing:
    # 50 of them write and read little more than their nodes, 105 MB. No loop is left
    # of `lax.map`, since all fit the memory at once.
    "population-running": Bounds(63, 0.76, 2, 0),
    # Norms take one pass of two kernels each.
    "population-batch": Bounds(72, 0.75, 4, 0),
    # The factorised reductions of two skip connections train through products, whose
    # gradients are transposed; the norm of all gradients reorders none. The only loop
    # is that over steps.
    "weight-step": Bounds(181, 1.82, 16, 1),
    # A weight step, and beside it the order of the epoch and the augmentation.
    "epoch-train": Bounds(195, 1.82, 16, 1),
    # Two samples of three generations: the populations of the six, and CMA-ES.
    "epoch-evolve": Bounds(1000, 4.3, 90, 2 + 2 * 3),
    # Eight weight steps together have the kernels of one. With the pass that
    # `lowering.compiler_options` leaves out, this one alone compiles for minutes.
    "train-of-8": Bounds(216, 13.7, 32, 1),
    # As a population of one, on four times the images, with their normalisation.
    "epoch-validate": Bounds(56, 1.05, 3, 0),
    # The only loop is that over steps: cells train without one, and the gradients of
    # depthwise kernels are sums.
    "retraining-step": Bounds(330, 3.8, 60, 1),
    # The images stay innermost, so nothing is transposed: a padding, two depthwise
    # convolutions, two products, two poolings and sums; 0.84 GB must move.
    "cell-running": Bounds(20, 2.5, 0, 0),
    # The same with the moments of the norms.
    "cell-batch": Bounds(20, 2.9, 0, 0),
    # Depthwise convolutions and their gradients are sums; no kernel is cuDNN's.
    "cell-step": Bounds(31, 0.25, 0, 0),
}
IN_FLOAT32 = "population-running", "weight-step", "cell-running", "cell-step"


def compiled(folder, *arguments):
    """Runs the command in a process of its own; returns its predictions."""
    file = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.deviceless", "--size", "small"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [*command, *arguments, "--json", file], cwd=ROOT, env=environment, check=True
    )
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def bfloat16(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bfloat16")
    return compiled(folder, *BOUNDS, "--precision", "bfloat16")["programs"]


@pytest.fixture(scope="module")
def float32(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float32")
    return compiled(folder, *IN_FLOAT32, "--precision", "float32")["programs"]


def launches_of(row, kind):
    return row["kinds"].get(kind, {"launches": 0})["launches"]


@pytest.mark.parametrize("program", BOUNDS)
def test_kernels_traffic_and_transposes_stay_within_bounds(bfloat16, program):
    row, bounds = bfloat16[f"{program} bfloat16"], BOUNDS[program]
    assert row["launches"] <= bounds.launches
    assert row["bytes"] <= 1e9 * bounds.gigabytes
    assert launches_of(row, "transpose") <= bounds.transposes
    assert row["turns"] == bounds.turns


def test_cuda_graphs_launch_nearly_all_kernels(bfloat16):
    """XLA's files, by which they are told apart, may change with its version."""
    for program in IN_FLOAT32:  # not those with many calls of libraries
        row = bfloat16[f"{program} bfloat16"]
        assert row["graph_launches"] >= 0.9 * row["launches"]


@pytest.mark.parametrize("program", IN_FLOAT32)
def test_float32_moves_twice_the_bytes(float32, bfloat16, program):
    row, half = float32[f"{program} float32"], bfloat16[f"{program} bfloat16"]
    assert row["least_bytes"] == 2 * half["least_bytes"]
    # sums and statistics are float32 in either case
    assert 1.6 <= row["bytes"] / half["bytes"] <= 2.1


@pytest.mark.parametrize("card", ["a100", "rtx4090"])
def test_other_cards_compile_and_are_predicted_slower(tmp_path, bfloat16, card):
    name = "cell-running bfloat16"
    options = "--card", card, "--precision", "bfloat16"
    (row,) = compiled(tmp_path, "cell-running", *options)["programs"].values()
    assert row["ms"] > 1.3 * bfloat16[name]["ms"]  # their memory is slower


def test_fused_kernels_keep_their_sums_in_registers(tmp_path):
    options = "--lowering", "fused", "--ptx", tmp_path / "ptx"
    result = compiled(
        tmp_path, "cell-running", "cell-batch", "--precision", "bfloat16", *options
    )
    names = {kernel["name"] for kernel in result["registers"]}
    # No primitive of the small space has two blocks, so nothing is convolved before.
    assert names == {"fused_mix", "fused_moments"}
    for kernel in result["registers"]:
        assert kernel["spilled_bytes"] == 0
        assert kernel["registers"] <= 168  # three blocks of 128 threads at a time
        # A product and a sum are one instruction.
        assert kernel["multiply_adds"] > 100
    for row in result["programs"].values():
        assert row["kinds"]["pallas"]["launches"] > 0
