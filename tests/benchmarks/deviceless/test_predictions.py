"""Predictions follow from the roofline's constants, checked by hand."""

import json

import hlo_samples
import pytest

from benchmarks.deviceless import __main__ as command
from benchmarks.deviceless import fused, predict, report
from benchmarks.deviceless.cards import CARDS, card_named, target_description
from benchmarks.deviceless.compile import Compiled
from benchmarks.deviceless.costs import Cost
from benchmarks.deviceless.kernels import Kernel
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.results import load_programs
from benchmarks.deviceless.roofline import kernel_s, limit_of, rates_of

H100 = rates_of(CARDS["h100"])


def kernel(cost, in_graph=False):
    return Kernel("k", "elementwise", "f", 1.0, in_graph, cost)


def test_rates_are_shares_of_the_peaks():
    assert H100.bytes_per_s == pytest.approx(0.8 * 3.35e12)
    # 132 multiprocessors of 128 lanes, and of 128 bytes of L1 a clock, at 1.98 GHz
    assert H100.operations_per_s == pytest.approx(0.4 * 132 * 128 * 1.98e9)
    assert H100.l1_bytes_per_s == pytest.approx(0.5 * 132 * 128 * 1.98e9)
    assert H100.products_per_s["bfloat16"] == pytest.approx(0.4 * 989e12)
    a100 = rates_of(CARDS["a100"])  # half the lanes, but as much L1
    assert a100.operations_per_s == pytest.approx(0.4 * 108 * 64 * 1.41e9)
    assert a100.l1_bytes_per_s == pytest.approx(0.5 * 108 * 128 * 1.41e9)


def test_an_h200_computes_as_an_h100_and_moves_more():
    """The campaign loads programs only onto a card of the name that the driver says."""
    card = card_named("h200")
    text = target_description(card)
    assert 'name: "NVIDIA H200"' in text and "major: 9 minor: 0" in text
    assert "memory_bandwidth: 4800000000000" in text and "core_count: 132" in text
    rates = rates_of(card)
    assert rates.bytes_per_s == pytest.approx(0.8 * 4.8e12)
    assert rates.operations_per_s == H100.operations_per_s


@pytest.mark.parametrize(
    ("cost", "seconds", "limit"),
    [
        (Cost(bytes=2_680_000_000), 1e-3, "memory"),
        (Cost(l1_bytes=16_727_040_000), 1e-3, "L1"),
        (Cost(operations=13_381_632_000), 1e-3, "arithmetic"),
        (Cost(products=44_890_000_000, product_dtype="f32"), 1e-3, "products"),
        (Cost(products=395_600_000_000, product_dtype="bf16"), 1e-3, "products"),
    ],
)
def test_the_slowest_limit_bounds_a_kernel(cost, seconds, limit):
    one = kernel(cost)
    assert kernel_s(H100, one, "float32") == pytest.approx(seconds + 1e-6, rel=1e-3)
    assert limit_of(H100, one, "float32") == limit


def test_a_small_kernel_takes_as_long_as_its_launch():
    one, in_graph = kernel(Cost(bytes=1000)), kernel(Cost(bytes=1000), in_graph=True)
    assert kernel_s(H100, one, "float32") == 4e-6
    assert kernel_s(H100, in_graph, "float32") == 2e-6
    assert limit_of(H100, one, "float32") == "launch"


def test_tf32_products_of_float32_are_faster():
    products = kernel(Cost(products=10**12, product_dtype="f32"))
    ratio = kernel_s(H100, products, "float32") / kernel_s(H100, products, "default")
    assert ratio == pytest.approx(0.5 * 494 / (0.67 * 67), rel=1e-3)


def predicted(text, **fields):
    """The prediction of a program of which a call takes three steps."""
    compiled = Compiled(text, 1.0, 2.0, 10**9, 3 * 10**9, **fields)
    request = Request(
        function=None, arguments=(), images=6, bytes=400, multiply_adds=100, steps=3
    )
    return predict.prediction(compiled, request, H100, "float32")


@pytest.fixture
def row():
    """15 launches of a small kernel in one call of three steps."""
    return predicted(hlo_samples.LOOPS)


def test_kernels_in_cuda_graphs_are_predicted_faster():
    alone = predicted(hlo_samples.BRANCHES)
    row = predicted(hlo_samples.BRANCHES, in_graphs=frozenset({"b.2", "g.1"}))
    assert row["launches"] == alone["launches"] == 3 / 3
    assert (row["graph_launches"], alone["graph_launches"]) == (2 / 3, 0)
    assert alone["ms"] - row["ms"] == pytest.approx(2 * 2e-3 / 3)


@pytest.mark.parametrize(("in_graphs", "launches"), [((), 0), (("call",), 1 / 3)])
def test_a_pallas_kernel_is_in_a_graph_if_its_call_is(in_graphs, launches):
    text = hlo_samples.entry(
        "f32[8]{0}",
        "%x = f32[8]{0} parameter(0)",
        "ROOT %call = f32[8]{0} custom-call(%x), "
        'custom_call_target="__gpu$xla.gpu.triton"',
    )
    pallas = (kernel(Cost(bytes=1000)),)
    row = predicted(text, in_graphs=frozenset(in_graphs), pallas=pallas)
    assert (row["launches"], row["graph_launches"]) == (1 / 3, launches)


def test_a_prediction_is_that_of_one_step(row):
    assert row["kernels"] == 1
    assert row["launches"] == 15 / 3
    assert row["turns"] == (3 + 15) / 3
    assert row["bytes"] == 256 * 5
    assert row["operations"] == 32 * 5
    assert row["ms"] == pytest.approx(5 * 4e-3)
    assert row["launch_ms"] == row["ms"]
    assert row["cudnn_ms"] == 0
    assert row["images_per_s"] == pytest.approx(6 / 20e-6)
    assert row["memory_share"] == pytest.approx(400 / 2.68e12 / 20e-6)
    assert row["product_share"] == pytest.approx(200 / (0.67 * 67e12) / 20e-6)
    assert row["kinds"] == {
        "elementwise": {key: row[key] for key in ("kernels", *predict.SUMMED)}
    }


def test_the_report_names_launches_traffic_and_what_is_predicted(row):
    text = report.describe("weight-step float32", row, heaviest=1)
    assert "weight-step float32: predicted 0.02 ms a step, 300,000 images/s" in text
    assert "compiled in 1 + 2 s; XLA reserves 3.00 GB, of which 1.00 temporary" in text
    assert "5 launches (0 in graphs) of 1 kernels, 6 turns of loops" in text
    assert "bound by launch: y of body/add" in text
    assert "cuDNN" not in text


def test_the_report_names_what_is_costed_too_low(row):
    solver = row["kinds"]["elementwise"] | {"launches": 9}
    kinds = {"call cusolver_syevd_ffi": solver, **row["kinds"]}
    text = report.describe("epoch", row | {"kinds": kinds, "cudnn_ms": 1.5})
    assert "9 launches of cusolver_syevd_ffi count as what they read" in text
    assert "1.50 ms are cuDNN's, at the roofline" in text


def test_a_comparison_shows_what_a_change_did(row):
    faster = row | {"ms": row["ms"] / 2, "launches": 10}
    text = report.compare("weight-step float32", faster, row)
    assert "ms 0.02 -> 0.01 (-50 %)" in text
    assert "launches 5 -> 10 (+100 %)" in text
    assert "GB 0.000 -> 0.000 (+0 %)" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"card": "a100", "size": "full"}, "is of card a100, size full, but this run"),
        ({"card": "h100", "size": "small"}, "is of card h100, size small, but this"),
        (None, "cannot be read as predictions"),
    ],
)
@pytest.mark.parametrize(
    ("parse", "option"), [(command.parse, "--against"), (fused.main, "--today")]
)
def test_predictions_of_another_card_or_size_are_refused(
    tmp_path, capsys, parse, option, content, message
):
    file = tmp_path / "earlier.json"
    if content:
        file.write_text(json.dumps({"settings": content, "programs": {}}))
    with pytest.raises(SystemExit) as stop:
        parse([option, str(file)])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {}},
        {"settings": []},
        {"programs": []},
        {"programs": {"weight-step float32": {"ms": 1.0}}},
        {"programs": {"weight-step float32": 5}},
    ],
)
def test_a_damaged_earlier_file_is_refused(changes, tmp_path):
    content = {"settings": {"card": "h100", "size": "full"}, "programs": {}}
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(content))
    assert load_programs(file, "h100", "full") == {}
    file.write_text(json.dumps(content | changes))
    with pytest.raises(ValueError, match="cannot be read as predictions"):
        load_programs(file, "h100", "full")


def test_the_earlier_file_is_read_before_anything_is_compiled(tmp_path, row):
    file = tmp_path / "earlier.json"
    settings, name = {"card": "h100", "size": "full"}, "weight-step float32"
    file.write_text(json.dumps({"settings": settings, "programs": {name: row}}))
    options = command.parse(["weight-step", "--against", str(file)])
    assert options.earlier == {name: row}


def test_a_machine_without_the_compiler_is_told_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(command, "is_installed", lambda: False)
    assert command.main(["cell-running"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install -e ".[bench-gpu]"' in line


def test_an_unknown_program_is_named_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as stop:
        command.parse(["weight-steps"])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "'weight-steps'" in message and "weight-step," in message


def test_a_card_is_described_to_xla_by_its_public_numbers():
    text = target_description(card_named("rtx4090"))
    for line in (
        "core_count: 128",
        "cuda_compute_capability { major: 8 minor: 9 }",
        "memory_bandwidth: 1010000000000",
        "device_memory_size: 25769803776",
        "shared_memory_per_block_optin: 101376",
        "ecc_enabled: false",
        'name: "NVIDIA GeForce RTX 4090"',
    ):
        assert f"  {line}\n" in text
    with pytest.raises(ValueError, match="h100"):
        card_named("h10")
