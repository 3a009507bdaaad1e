"""The arithmetic of a fused cell is what a person counts."""

import pytest

from benchmarks import parity, traffic
from benchmarks.deviceless import fused, fused_cost
from benchmarks.deviceless.cards import CARDS
from benchmarks.deviceless.roofline import rates_of
from egnas_jax.nn.cost import preprocessing
from egnas_jax.nn.supernet import SupernetConfig, cells_of
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.space import SPACES, Space

# C = 16, k = 4, 32 x 32 pixels: 4 active and 12 bypassed channels. Two states send one
# edge each to the only node.
PIXELS, ACTIVE = 32 * 32, 4 * 32 * 32


@pytest.fixture
def config(monkeypatch, request):
    space = Space("one_node", primitives=request.param, num_nodes=1)
    monkeypatch.setitem(SPACES, space.name, space)
    return SupernetConfig(layers=3, space=space.name)  # the first cell is normal


@pytest.mark.parametrize(
    "config", [("avg_pool_3x3", "skip_connect", "dil_conv_3x3")], indirect=True
)
def test_a_cell_with_one_dilated_convolution_an_edge(config):
    cell = cells_of(config)[0]
    assert fused_cost.cell_cost(config, cell, 32, "running") == fused_cost.FusedCost(
        # reads two inputs, writes one node, in float32
        bytes=4 * 3 * 16 * PIXELS,
        # below 8 outputs 8 + 2 * 2 numbers in each of three rows; one number written
        shared_bytes=2 * ACTIVE * 4 * (3 * 12 // 8 + 1) + 2 * ACTIVE * 2,
        multiply_adds=2 * (9 + 4) * ACTIVE,
        operations=2 * (10 * ACTIVE + 9 * ACTIVE + 12 * PIXELS),
    )
    batch = fused_cost.cell_cost(config, cell, 32, "batch")
    assert batch.multiply_adds == 2 * 2 * (9 + 4) * ACTIVE
    # a state: its active channels in two passes and for the edge, the edge's output
    # written and read, the bypassed channels read; the node written
    state = (2 + 1 + 2) * ACTIVE + 12 * PIXELS
    assert batch.bytes == 4 * (2 * state + 16 * PIXELS)
    assert traffic.mixed_cell_bytes(config, cell, 32) == batch.bytes - 16 * 4096


@pytest.mark.parametrize("config", [("sep_conv_3x3",)], indirect=True)
def test_statistics_of_the_batch_repeat_the_first_stage_most(config):
    cell = cells_of(config)[0]
    running, batch = (
        fused_cost.cell_cost(config, cell, 32, kind) for kind in ("running", "batch")
    )
    stage = (9 + 4) * ACTIVE
    assert running.multiply_adds == 2 * 2 * stage  # two stages on two edges
    assert batch.multiply_adds == 2 * (3 + 2) * stage


@pytest.mark.parametrize("config", [("sep_conv_3x3",)], indirect=True)
def test_the_second_stage_of_a_reduction_has_stride_one(config):
    reduction = cells_of(config)[1]
    outputs = 8 * 16 * 16  # of each stage and edge
    numbers = [3 * (2 * 7 + 1 + 2) / 8 + 1, 3 * (7 + 1 + 2) / 8 + 1]
    cost = fused_cost.cell_cost(config, reduction, 32, "running")
    assert cost.shared_bytes == 2 * outputs * 4 * sum(numbers)


def test_all_convolutions_of_the_network_are_counted():
    config = SupernetConfig()
    whole, side = supernet_multiply_adds(config, 32), 32
    stem = 9 * 3 * 48 * 32 * 32
    classifier = 4 * 64 * 10
    outside = stem + classifier
    halvings = 0
    for cell in cells_of(config):
        outside += sum(c.multiply_adds(side) for c in preprocessing(cell, halvings))
        halvings += cell.reduction
    cost = fused_cost.network_cost(config, side, "running")
    assert cost.multiply_adds == whole - outside


def test_a_block_of_the_largest_cell_fits_an_h100_in_bfloat16_alone():
    sizes = {}
    for dtype in ("bfloat16", "float32"):
        config = SupernetConfig(dtype=dtype)
        sizes[dtype] = fused_cost.block_bytes(config, cells_of(config)[0], 32)
    arrays = 4 * (40 * 40 + 36 * 36) * 4
    nodes = 4 * 16 * PIXELS
    assert sizes == {"bfloat16": arrays + 2 * nodes, "float32": arrays + 4 * nodes}
    assert sizes["bfloat16"] < CARDS["h100"].shared_bytes < sizes["float32"]


def test_the_slowest_limit_and_the_rest_add_up():
    case, rates = parity.CASES["full"], rates_of(CARDS["h100"])
    cost = fused_cost.network_cost(case.config, case.side, "running")
    predicted = fused.predict(case, rates, "running")
    images = 50 * 128
    lanes = 0.4 * 132 * 128 * 1.98e9
    arithmetic = images * (cost.multiply_adds + cost.operations) / lanes
    assert predicted.arithmetic == pytest.approx(arithmetic)
    assert predicted.arithmetic > predicted.shared > predicted.memory
    assert predicted.seconds == predicted.arithmetic + predicted.rest
    rest = fused_cost.rest_bytes(case.config, case.side)
    assert predicted.rest == pytest.approx(images * rest / 2.68e12)


def test_the_report_compares_with_todays_programs():
    today = {f"population-running {name}": 237.0 for name in ("bfloat16", "float32")}
    text = fused.report(CARDS["h100"], today)
    assert "float32: a block takes 301 KiB of shared memory at most, which does" in text
    assert (
        "bfloat16: a block takes 173 KiB of shared memory at most, which fits" in text
    )
    assert "today's programs: 237 ms; predicted gain 10.0" in text
    assert "today's programs: 237 ms; predicted gain below 8.4" in text
    assert text.count("predicted gain") == 2  # nothing is known of the others
