"""Runs the parts of the GPU benchmark at small size on the CPU."""

import argparse
import dataclasses
import json
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import epoch, gpu, images, limits, parity, ranks, rows, traffic
from benchmarks.gpu_report import report
from benchmarks.session import Session, measure_wave, record_parity
from egnas_jax import interop
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.space import SPACES, Space, zoo

pytestmark = pytest.mark.slow

SPACE = Space(
    "small", primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"), num_nodes=1
)
LIMIT = {
    "bytes_per_s": 1e9,
    "float32": 1e10,
    "default": 1e10,
    "bfloat16": 1e10,
    "seconds_per_kernel": 1e-6,
}


@pytest.fixture(scope="module")
def case():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        config = SupernetConfig(
            channels=4, layers=1, partial_channels=2, space=SPACE.name
        )
        yield parity.Case(config, side=8, individuals=6, images=8, batch=8, checked=5)


@pytest.fixture(scope="module")
def drawn(case):
    return parity.draw(case)


@pytest.fixture(scope="module")
def by_torch(case, drawn):
    """Golden arrays of the small problem, computed by torch in float64."""
    pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.make_golden import golden_arrays

    return golden_arrays(case, drawn)


def make_session(seconds=1e6):
    options = argparse.Namespace(seconds=seconds, json=None, images=None)
    session = Session(options, time.perf_counter())
    session.results["limits"] = LIMIT
    return session


def test_without_a_gpu_the_script_explains_how_to_try_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert gpu.main() == 2
    said = capsys.readouterr().err
    assert "No GPU was found: jax sees only cpu" in said
    assert "--quick --platform cpu" in said


def test_bytes_of_a_small_network_equal_a_count_by_hand(case):
    """One reduction cell of one node: C = 8, k = 2, 8x8 pixels become 4x4."""
    stem = 3 * 64 + 12 * 64
    preprocessing = 2 * 12 * 64 + 2 * 8 * 64
    edges = 2 * (4 * 64 + 2 * 4 * 16 + 4 * 64)  # active, written and read, bypassed
    node, head = 8 * 16, 8 * 16
    total = stem + preprocessing + edges + node + head
    assert traffic.forward_bytes(case.config, 8) == 4 * total
    short = dataclasses.replace(case.config, dtype="bfloat16")
    assert traffic.forward_bytes(short, 8) == 2 * total


def test_multiply_adds_of_a_supernet_equal_those_of_torch_modules():
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.torch_net import SearchNetwork

    config = SupernetConfig(channels=4, layers=5, partial_channels=2)
    net, counted = SearchNetwork(config), []

    def count(module, inputs, output):
        pixels = output.shape[2:].numel()  # 1 for a linear layer
        counted.append(module.weight.numel() * pixels)

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    space = SPACES[config.space]
    mixing = {
        k: torch.ones(space.num_edges, len(space.primitives)) for k in space.kinds
    }
    net(torch.zeros(1, 3, 16, 16), mixing)
    assert supernet_multiply_adds(config, 16) == sum(counted)


@pytest.fixture(scope="module")
def measured(case, drawn, by_torch):
    """A session with population and weight step in float32 and bfloat16."""
    session = make_session()
    for precision in ("float32", "bfloat16"):
        session.part(precision, gpu.main_rows, case, drawn, by_torch, precision)
    return session


def test_float32_agrees_with_torch_and_bfloat16_approximately(measured):
    errors = measured.results["parity"]
    assert len(errors) == 6 and measured.results["failed"] == []
    for what, error in errors.items():
        most = 1e-5 if "float32" in what else 0.1
        assert error["loss"] < most and error.get("gradient", 0.0) < 3 * most
        assert error["loss"] > (0.0 if "float32" in what else 1e-5)
        assert error.get("tau", 1.0) > 0.5


def test_rows_count_the_work_of_a_call(case, measured):
    lines = {
        (line["name"], line["precision"]): line for line in measured.results["rows"]
    }
    assert len(lines) == 6
    line = lines["population, running statistics", "bfloat16"]
    short = dataclasses.replace(case.config, dtype="bfloat16")
    assert line["bytes"] == 6 * 8 * traffic.forward_bytes(short, 8)
    share = line["bytes"] / line["seconds"] / LIMIT["bytes_per_s"]
    np.testing.assert_allclose(line["share_of_memory"], share)
    np.testing.assert_allclose(line["images_per_s"] * line["seconds"], 48)
    step = lines["weight step, 8 images", "float32"]
    assert step["multiply_adds"] * 48 == 3 * 64 * line["multiply_adds"]


def test_other_weights_fail_the_parity_check(measured, by_torch):
    row, program = measured.programs["population, batch statistics", "float32"]
    wrong = jax.tree.map(lambda leaf: leaf * 1.01, row.arguments[0]["params"])
    variables = row.arguments[0] | {"params": wrong}
    scores = program.call(variables, *row.arguments[1:])
    error = parity.population_error(by_torch, "batch", scores.loss, scores.correct)
    assert not parity.passes(error)
    session = make_session()
    record_parity(session, "a row", "float32", error)
    record_parity(session, "a row", "bfloat16", error)
    assert len(session.results["failed"]) == 1  # bfloat16 is only reported


def test_a_wrong_gradient_of_one_leaf_fails_the_parity_check(by_torch):
    names, theirs = by_torch["names"].tolist(), by_torch["gradients"]
    class_bias = names.index("classifier/bias")
    changed = theirs.copy()
    changed[class_bias] *= 1.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "velocity", lambda optimizer: optimizer)
        patch.setattr(
            parity, "signature", lambda tree: dict(zip(names, tree, strict=True))
        )
        loss = float(by_torch["loss_step"])
        assert parity.passes(parity.step_error(by_torch, loss, theirs))
        error = parity.step_error(by_torch, loss, changed)
    assert not parity.passes(error)
    np.testing.assert_allclose(error["gradient"], 0.1, rtol=1e-6)


def test_a_signature_depends_on_direction_and_length():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.ones(4)]}
    signature = parity.signature(tree)
    assert set(signature) == {"a", "b/0"}
    np.testing.assert_allclose(signature["a"][0], np.sqrt(55.0))
    reversed_rows = parity.signature({"a": tree["a"][::-1], "b": tree["b"]})
    np.testing.assert_allclose(reversed_rows["a"][0], signature["a"][0])
    assert abs(reversed_rows["a"][1] - signature["a"][1]) > 0.1
    doubled = parity.signature({"a": 2 * tree["a"]})
    np.testing.assert_allclose(doubled["a"], 2 * signature["a"])


@pytest.mark.parametrize(
    "size", [size for size in parity.CASES if parity.load(size) is not None]
)
def test_golden_files_belong_to_the_current_network(size):
    case, golden = parity.CASES[size], parity.load(size)
    shapes = jax.eval_shape(
        lambda key: parity.make_supernet(case.config).init(
            key, (case.side,) * 2 + (3,)
        ),
        jax.random.key(0),
    )["params"]
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    assert golden["names"].tolist() == [parity.name_of(path) for path, _ in leaves]
    for batch_stats in ("running", "batch"):
        assert golden[f"loss_{batch_stats}"].shape == (case.checked,)
        assert np.std(golden[f"loss_{batch_stats}"]) > 0.01  # individuals differ
    path = parity.FOLDER / f"supernet_{size}.npz"
    assert path.stat().st_size < 20_000


def test_parts_that_do_not_fit_the_time_are_named(case, drawn):
    session = make_session(seconds=0.0)
    session.longest = 1.0
    measure_wave(session, [rows.population(case, drawn, "float32", "batch")])
    gpu.search_epoch(session, epoch.TRIAL, "bfloat16")
    assert session.results["rows"] == [] and "epoch" not in session.results
    first, second = session.results["left_out"]
    assert re.match(r"population, batch statistics \(float32\): -?\d+ s were", first)
    assert second.startswith("an epoch of a search")


def test_results_so_far_are_reported_when_the_time_is_up(measured, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(gpu.os, "_exit", codes.append)
    session = make_session()
    session.results |= measured.results | {
        "left_out": [],
        "size": "trial",
        "torch": {},
        "machine": gpu.machine(),
    }
    gpu.stop(session)
    output = capsys.readouterr().out
    assert codes == [1] and "Left out: the rest: the time was up" in output
    assert "weight step, 8 images | bfloat16" in output


def test_a_part_that_fails_is_named_and_the_next_runs():
    session = make_session()

    def broken(session):
        raise RuntimeError("RESOURCE_EXHAUSTED: of memory\nmore lines")

    session.part("an epoch", broken)
    session.part("the next", lambda session: session.leave_out("a part", "a reason"))
    assert session.results["failed"] == [
        "an epoch: RuntimeError: RESOURCE_EXHAUSTED: of memory"
    ]
    assert session.results["left_out"] == ["a part: a reason"]


def test_a_row_that_fails_is_named_and_the_others_run(case, drawn):
    good = rows.population(case, drawn, "float32", "running")
    bad = good._replace(name="bad", function=lambda *arguments: jnp.zeros(3) + "x")
    session = make_session()
    measure_wave(session, [bad, good])
    assert [line["name"] for line in session.results["rows"]] == [good.name]
    assert session.results["failed"][0].startswith("bad (float32): TypeError")


def test_an_epoch_in_bfloat16_runs_and_is_extrapolated_to_a_search(case):
    plan = dataclasses.replace(
        epoch.TRIAL,
        supernet=dataclasses.replace(case.config, dtype="bfloat16"),
        images=32,
        batch_size=8,
        warmup=15,
    )
    pixels, labels = images.synthetic(64, 8)
    run = epoch.make_run(plan, pixels, labels)
    measured, state = epoch.measure(run, plan)
    assert (int(state.epoch), int(state.strategy.updates)) == (2, 2)
    parts = measured["evolve"] + measured["validate"] + measured["weights_and_host"]
    np.testing.assert_allclose(parts, measured["seconds"])
    search = 50 * measured["seconds"] - 15 * measured["evolve"]
    np.testing.assert_allclose(measured["whole_search"], search)
    lines = ranks.compare(plan, state, pixels[32:], labels[32:], (1.0,))
    assert lines[0]["bfloat16"]["tau_loss"] > 0.6
    assert 0.0 < lines[0]["loss_difference"] < lines[0]["loss_spread"]
    assert "| 1.0 |" in ranks.table(lines)


def test_kendalls_tau_equals_a_count_by_hand():
    """One of six pairs is reversed: (5 - 1) / 6."""
    assert ranks.kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)


def test_pieces_hold_every_image_once(tmp_path):
    pixels, labels = images.synthetic(10, 4)
    paths = images.write_pieces(pixels, labels, tmp_path, 4)
    again, classes, different = images.from_pieces(paths, 10)
    assert len(paths) == 3 and different == 10
    order = np.argsort(again.reshape(10, -1).astype(int).dot(np.arange(48)))
    expected = np.argsort(pixels.reshape(10, -1).astype(int).dot(np.arange(48)))
    np.testing.assert_array_equal(again[order], pixels[expected])
    np.testing.assert_array_equal(classes[order], labels[expected])


def test_too_few_images_are_repeated_within_disjoint_halves(tmp_path):
    paths = images.write_pieces(*images.synthetic(5, 4), tmp_path, 5)
    repeated, _, different = images.from_pieces(paths, 12)
    assert different == 4
    halves = [
        {image.tobytes() for image in repeated[part]}
        for part in (slice(6), slice(6, 12))
    ]
    assert [len(half) for half in halves] == [2, 2] and not halves[0] & halves[1]


def test_images_of_another_size_are_refused(tmp_path):
    path = images.write_pieces(*images.synthetic(4, 4), tmp_path, 4)
    with pytest.raises(ValueError, match=r"\(4, 4, 3\).*takes \(8, 8, 3\)"):
        gpu.data(path, epoch.TRIAL)


def test_limits_are_plausible():
    measured = limits.measure(trial=True)
    assert set(measured) == set(LIMIT)
    assert all(np.isfinite(value) and value > 0 for value in measured.values())
    assert 1e6 < measured["bytes_per_s"] < 1e12
    assert 1e6 < measured["float32"] < 1e15


def test_the_report_names_device_shares_and_gaps(measured):
    results = measured.results | {
        "machine": {"date": "2030-01-01", "device": "a card", "jax": "0.0"},
        "size": "full",
        "torch": {"population, running statistics": {"images_per_s": 1e-9}},
        "left_out": ["an epoch: 3 s were left"],
    }
    text = report(json.loads(json.dumps(results)))
    assert "2030-01-01, a card, jax 0.0" in text and "trial" not in text
    assert "Left out: an epoch: 3 s were left" in text
    lines = [line for line in text.splitlines() if line.startswith("| population")]
    assert len(lines) == 4 + 4  # of the times and of the parity
    absent = report(results | {"torch": {"absent": "torch is not installed: no ratio"}})
    assert "torch is not installed: no ratio" in absent


def test_a_missing_torch_is_reported(case, monkeypatch):
    from benchmarks import opponent

    monkeypatch.setattr(opponent.importlib.util, "find_spec", lambda name: None)
    recipe = rows.recipe(case, trial=True)
    assert "not installed" in opponent.measure(case, recipe, "gpu")["absent"]


def test_the_derived_network_of_the_benchmark_equals_the_reference(load_golden_network):
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.torch_derived import DerivedNetwork

    z, genotype, config, weights = load_golden_network("network_darts_v2_c8_l6")
    net = DerivedNetwork(genotype, config).double()
    state = {name: torch.as_tensor(leaf) for name, leaf in weights.items()}
    net.load_state_dict(net.state_dict() | state)
    assert {n for n in net.state_dict() if "num_batches" not in n} == set(weights)
    images = torch.as_tensor(z["x"]).double()
    with torch.no_grad():
        logits, none = net.eval()(images, 0.5)  # no path is dropped in evaluation
        np.testing.assert_allclose(logits, z["logits_eval"], rtol=1e-4, atol=1e-5)
        assert none is None
        logits, _ = net.train()(images, 0.0)
    np.testing.assert_allclose(logits, z["logits_train"], rtol=1e-4, atol=1e-5)


def test_the_auxiliary_head_of_the_benchmark_equals_ours():
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.torch_derived import DerivedNetwork

    genotype, config = zoo["DARTS_V2"].genotype, NetworkConfig(channels=4, layers=4)
    ours = make_network(genotype, config)
    variables = ours.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 32, 32, 3))
    _, expected, _ = ours.apply(variables, images, train=True)
    weights = interop.network_to_torch(variables, genotype, config)
    state = {name: torch.as_tensor(np.array(leaf)) for name, leaf in weights.items()}
    theirs = DerivedNetwork(genotype, config)
    theirs.load_state_dict(theirs.state_dict() | state)
    pixels = torch.as_tensor(np.array(images).transpose(0, 3, 1, 2))
    with torch.no_grad():
        _, auxiliary = theirs.train()(pixels, 0.0)
    np.testing.assert_allclose(auxiliary, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", rows.PRECISIONS)
def test_a_row_returns_a_state_that_its_next_call_takes(precision, case, drawn):
    """Traced only, which shows whether rows still fit the functions that they call."""
    with_state = [
        rows.steps(case, drawn, precision, 2),
        rows.retrain(case, rows.recipe(case, trial=True), precision),
    ]
    for row in with_state:
        state = jax.eval_shape(row.function, *row.arguments)
        shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
        assert shapes == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), row.arguments[0]
        )
    row = rows.population(case, drawn, precision, "batch")
    scores = jax.eval_shape(row.function, *row.arguments)
    assert scores.loss.shape == (case.individuals,)


def test_drop_path_of_torch_drops_whole_images_and_keeps_the_mean():
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.torch_derived import drop_paths

    torch.manual_seed(0)
    dropped = drop_paths(torch.ones(4000, 2, 3, 3), 0.25)
    by_image = dropped.flatten(1)
    assert bool((by_image == by_image[:, :1]).all())
    assert set(by_image[:, 0].tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs(float(dropped.mean()) - 1.0) < 0.05
