"""Programs, work and parity of the rows of the GPU benchmark, on a CPU."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from campaign_context import Collector

from benchmarks import (
    epoch,
    images,
    limits,
    parity,
    ranks,
    rows,
    small_space,
    together,
    traffic,
)
from benchmarks.gpu import row_task
from egnas_jax import interop
from egnas_jax.nn.network import make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.search import step
from egnas_jax.space import SPACES, zoo

pytestmark = pytest.mark.longest

PROGRAMS = ("population-running", "population-batch", "weight-step")


@pytest.fixture(scope="module", autouse=True)
def space():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, small_space.SPACE.name, small_space.SPACE)
        yield


@pytest.fixture(scope="module")
def case(space):
    return parity.case_named("tiny")


@pytest.fixture(scope="module")
def drawn(case):
    return parity.draw(case)


@pytest.fixture(scope="module")
def golden():
    """Torch's results for the tiny case, in float64."""
    return parity.load("tiny")


def test_golden_numbers_are_those_of_torch(case, drawn, golden):
    pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.make_golden import golden_arrays

    again = golden_arrays(case, drawn)
    assert set(again) == set(golden)
    for name, array in again.items():
        if name == "names":
            assert array.tolist() == golden[name].tolist()
        else:
            np.testing.assert_allclose(array, golden[name], rtol=1e-9)


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
def measured(space, tmp_path_factory):
    """Results of all programs in float32 and bfloat16."""
    context = Collector(tmp_path_factory.mktemp("rows"))
    for precision in ("float32", "bfloat16"):
        for program in PROGRAMS:
            row_task.measure_row(context, "tiny", "tiny", program, precision)
    return context.results


def test_float32_agrees_with_torch_and_bfloat16_approximately(measured):
    assert len(measured) == 6
    for what, row in measured.items():
        error, most = row["parity"], 1e-5 if "float32" in what else 0.1
        assert error["loss"] < most and error.get("gradient", 0.0) < 3 * most
        assert error["loss"] > (0.0 if "float32" in what else 1e-5)
        assert error.get("tau", 1.0) > 0.5


def test_rows_count_the_work_of_a_call(case, measured):
    row = measured["population-running, bfloat16"]
    short = dataclasses.replace(case.config, dtype="bfloat16")
    assert row["bytes"] == 6 * 8 * traffic.forward_bytes(short, 8)
    np.testing.assert_allclose(row["images_per_s"] * row["seconds"], 48)
    step = measured["weight-step, float32"]
    assert step["multiply_adds"] * 48 == 3 * 64 * row["multiply_adds"]


def test_float32_that_is_too_far_from_torch_fails_after_its_result(
    tmp_path, golden, monkeypatch
):
    changed = golden | {"loss_running": golden["loss_running"] * 1.001}
    monkeypatch.setattr(parity, "load", lambda case: changed)
    context, job = Collector(tmp_path), ("tiny", "tiny", "population-running")
    with pytest.raises(row_task.ParityError, match="is wrong: loss 0.000999"):
        row_task.measure_row(context, *job, "float32")
    assert "population-running, float32" in context.results
    row_task.measure_row(context, *job, "bfloat16")  # within its rounding


def test_a_device_that_is_not_asked_for_is_not_measured(tmp_path):
    context = Collector(tmp_path, platform="gpu")
    with pytest.raises(RuntimeError, match="sees cpu and no gpu"):
        row_task.measure_limits(context, trial=True)


def test_a_wrong_gradient_of_one_leaf_fails_the_parity_check(golden):
    names, theirs = golden["names"].tolist(), golden["gradients"]
    class_bias = names.index("classifier/bias")
    changed = theirs.copy()
    changed[class_bias] *= 1.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "velocity", lambda optimizer: optimizer)
        patch.setattr(
            parity, "signature", lambda tree: dict(zip(names, tree, strict=True))
        )
        loss = float(golden["loss_step"])
        right = parity.step_error(golden, loss, theirs)
        error = parity.step_error(golden, loss, changed)
    assert parity.violations(right, "float32", 8) == []
    assert parity.violations(error, "float32", 8) == ["gradient 0.1 (at most 0.002)"]
    assert parity.violations(error, "bfloat16", 8) == []
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


@pytest.mark.parametrize("size", ["tiny", "trial", "full"])
def test_golden_files_belong_to_the_current_network(size):
    case, golden = parity.case_named(size), parity.load(size)
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


def test_an_epoch_in_bfloat16_runs_and_is_extrapolated_to_a_search():
    plan = epoch.in_precision(epoch.tiny_plan(), "bfloat16")
    plan = dataclasses.replace(plan, images=32, batch_size=8, warmup=15)
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


def test_limits_are_plausible():
    measured = limits.measure(trial=True)
    assert set(measured) == {"bytes_per_s", "seconds_per_kernel", *rows.PRECISIONS}
    assert all(np.isfinite(value) and value > 0 for value in measured.values())
    assert 1e6 < measured["bytes_per_s"] < 1e12
    assert 1e6 < measured["float32"] < 1e15


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


def test_searches_together_equal_searches_one_by_one():
    """The rows of K = 2 against the steps of each search alone, in float32."""
    plan = epoch.tiny_plan()
    for make, piece in ((together.train, "train"), (together.evolve, "evolve")):
        row = make(plan, "float32", 2)
        states = jax.tree.map(jnp.copy, row.arguments[0])
        both = rows.timed(row, rows.compiled(row), repeats=0).first
        parts = epoch.make_parts(plan, *images.synthetic(128, 8))
        seeds = together.hyperparams_of(parts, 2)
        search_alone = jax.jit(_alone(parts, piece))
        for k in range(2):
            hyperparams, state = jax.tree.map(
                lambda leaf, k=k: leaf[k], (seeds, states)
            )
            alone = search_alone(hyperparams, state)
            here = jax.tree.map(lambda leaf, k=k: leaf[k], both)
            for a, b in zip(*map(jax.tree.leaves, (here, alone)), strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def _alone(parts, piece):
    def train(hyperparams, state):
        span = jnp.int32(0), jnp.int32(4)
        return step.train_steps(parts.problem, parts.data, hyperparams, state, span)[0]

    def evolve(hyperparams, state):
        return step.evolve(parts.problem, parts.data, hyperparams, state)[0]

    return {"train": train, "evolve": evolve}[piece]


def test_the_work_of_searches_together_is_that_of_each_times_their_number():
    plan = epoch.tiny_plan()
    for make, images_of_one in (
        (together.train, 4 * 16),
        (together.evolve, plan.strategy.images_evaluated),
    ):
        one, four = make(plan, "bfloat16", 1), make(plan, "bfloat16", 4)
        assert one.images == images_of_one and four.images == 4 * images_of_one
        assert (four.products, four.bytes) == (4 * one.products, 4 * one.bytes)


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
