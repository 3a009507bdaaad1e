"""The GPU benchmark on the CPU: what it counts, checks, leaves out and reports."""

import argparse
import dataclasses
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import epoch, gpu, images, limits, parity, ranks, rows, traffic
from benchmarks.gpu_report import report
from benchmarks.session import Session, judge, measure_wave
from egnas_jax import interop
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.space import SPACES, Space, zoo

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
    """The small problem by torch in float64."""
    pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.make_golden import golden_arrays

    return golden_arrays(case, drawn)


def session(seconds=1e6, **options):
    given = argparse.Namespace(seconds=seconds, json=None, images=None, **options)
    made = Session(given, time.perf_counter())
    made.found["limits"] = LIMIT
    return made


def test_without_a_gpu_it_says_so_and_how_to_try(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert gpu.main() == 2
    said = capsys.readouterr().err
    assert "No GPU was found: jax sees only cpu" in said
    assert "--quick --platform cpu" in said


def test_bytes_of_a_small_network_by_hand(case):
    """One reduction cell of one node: C = 8, k = 2, 8x8 pixels become 4x4."""
    stem = 3 * 64 + 12 * 64
    preprocessing = 2 * 12 * 64 + 2 * 8 * 64
    edges = 2 * (4 * 64 + 2 * 4 * 16 + 4 * 64)  # read, written and read, bypassed
    node, head = 8 * 16, 8 * 16
    total = stem + preprocessing + edges + node + head
    assert traffic.forward_bytes(case.config, 8) == 4 * total
    short = dataclasses.replace(case.config, dtype="bfloat16")
    assert traffic.forward_bytes(short, 8) == 2 * total


def test_multiply_adds_of_a_supernet_are_those_of_torchs_modules():
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
    """All of population and weight step in float32 and bfloat16, checked and timed."""
    made = session()
    for precision in ("float32", "bfloat16"):
        made.part(precision, gpu.main_rows, case, drawn, by_torch, precision)
    return made


def test_float32_agrees_with_torch_and_bfloat16_nearly(measured):
    errors = measured.found["parity"]
    assert len(errors) == 6 and measured.found["failed"] == []
    for what, error in errors.items():
        most = 1e-5 if "float32" in what else 0.1
        assert error["loss"] < most and error.get("gradient", 0.0) < 3 * most
        assert error["loss"] > (0.0 if "float32" in what else 1e-5)
        assert error.get("tau", 1.0) > 0.5


def test_rows_count_what_a_call_does(case, measured):
    lines = {(line["name"], line["precision"]): line for line in measured.found["rows"]}
    assert len(lines) == 6
    line = lines["population, running statistics", "bfloat16"]
    short = dataclasses.replace(case.config, dtype="bfloat16")
    assert line["bytes"] == 6 * 8 * traffic.forward_bytes(short, 8)
    share = line["bytes"] / line["seconds"] / LIMIT["bytes_per_s"]
    np.testing.assert_allclose(line["share_of_memory"], share)
    np.testing.assert_allclose(line["images_per_s"] * line["seconds"], 48)
    step = lines["weight step, 8 images", "float32"]
    assert step["multiply_adds"] * 48 == 3 * 64 * line["multiply_adds"]


def test_other_weights_are_no_parity(measured, by_torch):
    row, program = measured.programs["population, batch statistics", "float32"]
    wrong = jax.tree.map(lambda leaf: leaf * 1.01, row.arguments[0]["params"])
    variables = row.arguments[0] | {"params": wrong}
    scores = program.call(variables, *row.arguments[1:])
    error = parity.population_error(by_torch, "batch", scores.loss, scores.correct)
    assert not parity.passes(error)
    made = session()
    judge(made, "it", "float32", error)
    judge(made, "it", "bfloat16", error)
    assert len(made.found["failed"]) == 1  # bfloat16 is only reported


def test_a_gradient_that_is_wrong_in_one_leaf_is_seen(by_torch):
    names, theirs = by_torch["names"].tolist(), by_torch["gradients"]
    class_bias = names.index("classifier/bias")
    changed = theirs.copy()
    changed[class_bias] *= 1.1
    trace = parity.signature  # of leaves that have these signatures
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
    assert parity.signature is trace


def test_a_signature_tells_direction_and_length():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": [jnp.ones(4)]}
    found = parity.signature(tree)
    assert set(found) == {"a", "b/0"}
    np.testing.assert_allclose(found["a"][0], np.sqrt(55.0))
    turned = parity.signature({"a": tree["a"][::-1], "b": tree["b"]})
    np.testing.assert_allclose(turned["a"][0], found["a"][0])
    assert abs(turned["a"][1] - found["a"][1]) > 0.1
    np.testing.assert_allclose(
        parity.signature({"a": 2 * tree["a"]})["a"], 2 * found["a"]
    )


@pytest.mark.parametrize(
    "size", [size for size in parity.CASES if parity.load(size) is not None]
)
def test_the_golden_files_are_of_this_network(size):
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


def test_what_does_not_fit_the_time_is_named(case, drawn):
    made = session(seconds=0.0)
    made.longest = 1.0
    measure_wave(made, [rows.population(case, drawn, "float32", "batch")])
    gpu.search_epoch(made, epoch.TRIAL, "bfloat16")
    assert made.found["rows"] == [] and "epoch" not in made.found
    first, second = made.found["left_out"]
    assert first.startswith(
        "population, batch statistics (float32): 0 s were left"
    ) or (first.startswith("population, batch statistics (float32): -"))
    assert second.startswith("an epoch of a search")


def test_when_the_time_is_up_what_there_is_is_reported(measured, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(gpu.os, "_exit", codes.append)
    made = session()
    made.found |= measured.found | {
        "left_out": [],
        "size": "trial",
        "torch": {},
        "machine": gpu.machine(),
    }
    gpu.stop(made)
    said = capsys.readouterr().out
    assert codes == [1] and "Left out: the rest: the time was up" in said
    assert "weight step, 8 images | bfloat16" in said


def test_a_part_that_fails_is_named_and_the_next_goes_on():
    made = session()

    def broken(session):
        raise RuntimeError("RESOURCE_EXHAUSTED: of memory\nmore lines")

    made.part("an epoch", broken)
    made.part("the next", lambda session: session.leave_out("it", "seen"))
    assert made.found["failed"] == [
        "an epoch: RuntimeError: RESOURCE_EXHAUSTED: of memory"
    ]
    assert made.found["left_out"] == ["it: seen"]


def test_a_row_that_fails_is_named_and_the_others_go_on(case, drawn):
    good = rows.population(case, drawn, "float32", "running")
    bad = good._replace(name="bad", function=lambda *arguments: jnp.zeros(3) + "x")
    made = session()
    measure_wave(made, [bad, good])
    assert [line["name"] for line in made.found["rows"]] == [good.name]
    assert made.found["failed"][0].startswith("bad (float32): TypeError")


def test_an_epoch_in_bfloat16_is_run_and_the_search_added_up(case):
    plan = dataclasses.replace(
        epoch.TRIAL,
        supernet=dataclasses.replace(case.config, dtype="bfloat16"),
        images=32,
        batch_size=8,
        warmup=15,
    )
    pixels, labels = images.made_up(64, 8)
    run = epoch.make_run(plan, pixels, labels)
    found, state = epoch.measure(run, plan)
    assert (int(state.epoch), int(state.strategy.updates)) == (2, 2)
    parts = found["evolve"] + found["validate"] + found["weights_and_host"]
    np.testing.assert_allclose(parts, found["seconds"])
    whole = 50 * found["seconds"] - 15 * found["evolve"]
    np.testing.assert_allclose(found["whole_search"], whole)
    lines = ranks.compare(plan, state, pixels[32:], labels[32:], (1.0,))
    assert lines[0]["bfloat16"]["tau_loss"] > 0.6
    assert 0.0 < lines[0]["loss_difference"] < lines[0]["loss_spread"]
    assert "| 1.0 |" in ranks.table(lines)


def test_kendalls_tau_by_hand():
    """Of six pairs one is the other way round: (5 - 1) / 6."""
    assert ranks.kendall([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)


def test_pieces_hold_all_images_once(tmp_path):
    pixels, labels = images.made_up(10, 4)
    paths = images.write_pieces(pixels, labels, tmp_path, 4)
    again, classes, different = images.from_pieces(paths, 10)
    assert len(paths) == 3 and different == 10
    order = np.argsort(again.reshape(10, -1).astype(int).dot(np.arange(48)))
    own = np.argsort(pixels.reshape(10, -1).astype(int).dot(np.arange(48)))
    np.testing.assert_array_equal(again[order], pixels[own])
    np.testing.assert_array_equal(classes[order], labels[own])


def test_too_few_images_are_repeated_in_halves_that_share_none(tmp_path):
    paths = images.write_pieces(*images.made_up(5, 4), tmp_path, 5)
    repeated, _, different = images.from_pieces(paths, 12)
    assert different == 4
    halves = [
        {image.tobytes() for image in repeated[part]}
        for part in (slice(6), slice(6, 12))
    ]
    assert [len(half) for half in halves] == [2, 2] and not halves[0] & halves[1]


def test_images_of_another_size_are_refused(tmp_path):
    path = images.write_pieces(*images.made_up(4, 4), tmp_path, 4)
    with pytest.raises(ValueError, match=r"\(4, 4, 3\).*takes \(8, 8, 3\)"):
        gpu.data(path, epoch.TRIAL)


def test_limits_are_measured():
    found = limits.measure(trial=True)
    assert set(found) == set(LIMIT)
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    # a core of today: between a megabyte and a terabyte, a megaflop and a petaflop
    assert 1e6 < found["bytes_per_s"] < 1e12 and 1e6 < found["float32"] < 1e15


def test_the_report_names_device_shares_and_gaps(measured):
    found = measured.found | {
        "machine": {"date": "2030-01-01", "device": "a card", "jax": "0.0"},
        "size": "full",
        "torch": {"population, running statistics": {"images_per_s": 1e-9}},
        "left_out": ["an epoch: 3 s were left"],
    }
    text = report(json.loads(json.dumps(found)))
    assert "2030-01-01, a card, jax 0.0" in text and "trial" not in text
    assert "Left out: an epoch: 3 s were left" in text
    lines = [line for line in text.splitlines() if line.startswith("| population")]
    assert len(lines) == 4 + 4  # timed, and beside torch
    absent = report(found | {"torch": {"absent": "torch is not installed: no ratio"}})
    assert "torch is not installed: no ratio" in absent


def test_torch_can_be_left_out(case, monkeypatch):
    from benchmarks import opponent

    monkeypatch.setattr(opponent.importlib.util, "find_spec", lambda name: None)
    recipe = rows.recipe(case, trial=True)
    assert "not installed" in opponent.measure(case, recipe, "gpu")["absent"]


def test_the_derived_network_of_torch_is_that_of_the_reference(load_golden_network):
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


def test_the_auxiliary_head_of_torch_is_ours():
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
def test_every_row_gives_back_what_its_next_call_takes(precision, case, drawn):
    """Traced alone, which shows whether it still fits the functions it calls."""
    moving = [
        rows.steps(case, drawn, precision, 2),
        rows.retrain(case, rows.recipe(case, trial=True), precision),
    ]
    for row in moving:
        state = jax.eval_shape(row.function, *row.arguments)
        shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
        assert shapes == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), row.arguments[0]
        )
    row = rows.population(case, drawn, precision, "batch")
    scores = jax.eval_shape(row.function, *row.arguments)
    assert scores.loss.shape == (case.individuals,)


def test_torch_drops_paths_by_image_and_keeps_the_mean():
    torch = pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.torch_derived import drop_paths

    torch.manual_seed(0)
    dropped = drop_paths(torch.ones(4000, 2, 3, 3), 0.25)
    by_image = dropped.flatten(1)
    assert bool((by_image == by_image[:, :1]).all())
    assert set(by_image[:, 0].tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs(float(dropped.mean()) - 1.0) < 0.05
