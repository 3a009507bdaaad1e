"""The CPU benchmark pairs runs, and its torch loop computes what we compute."""

import jax
import numpy as np
import pytest

from benchmarks import __main__ as benchmark
from benchmarks import epoch, primitives, problem, small_space
from benchmarks.__main__ import TorchPopulation, fastest, of_limits
from benchmarks.timing import Comparison, alternate
from benchmarks.worker import Worker, WorkerError
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import SPACES
from egnas_jax.training import program_cache

pytestmark = pytest.mark.longest


def test_the_side_that_runs_first_alternates():
    order = []

    def side(name, seconds):
        def run():
            order.append(name)
            return {"seconds": seconds}

        return run

    compared = alternate(side("torch", 6.0), side("ours", 2.0), pairs=3)
    assert order == ["torch", "ours", "ours", "torch", "torch", "ours"]
    assert compared == Comparison([6.0] * 3, [2.0] * 3)


def test_the_ratio_is_the_median_of_ratios_not_a_ratio_of_medians():
    summary = Comparison([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).summary()
    assert summary["ratio"] == 3.0  # of 2, 3, 4
    assert (summary["ratio_min"], summary["ratio_max"]) == (2.0, 4.0)
    assert (summary["torch_s"], summary["ours_s"]) == (4.0, 1.0)


def test_shares_of_the_limits_follow_from_the_counted_work():
    """The default supernet has 56.6 M multiply-adds per image by another count."""
    limits = {"operations_per_s": 1e9, "bytes_per_s": 1e9}
    shares = of_limits(limits, seconds=3.0, images=30, passes=1)
    np.testing.assert_allclose(shares["share_of_arithmetic"], 2 * 0.566, rtol=2e-3)
    step = of_limits(limits, seconds=3.0, images=30, passes=3)
    for name, share in shares.items():
        assert step[name] == pytest.approx(3 * share)


def test_a_torch_setting_that_crashes_is_skipped():
    def seconds(setting):
        if setting["crashes"]:
            raise WorkerError
        return setting["s"]

    fine = dict(crashes=False, s=2.0)
    settings = [dict(crashes=True, s=1.0), fine, dict(crashes=False, s=4.0)]
    assert fastest(settings, seconds, 8)[0] == fine
    with pytest.raises(SystemExit, match="nothing was timed"):
        fastest([settings[0]] * 2, seconds, 8)


@pytest.mark.parametrize(
    "ours",
    [
        {"loss": [2.0, 3.001], "correct": [5, 6]},
        {"loss": [2.0, float("nan")], "correct": [5, 6]},
        {"loss": [2.0, 3.0], "correct": [5, 8]},
    ],
)
def test_sides_that_differ_are_not_timed(ours):
    theirs = {"loss": [2.0, 3.0], "correct": [5, 6]}
    assert benchmark.check_equal("one", theirs, theirs | {"correct": [5, 7]}) == 0
    with pytest.raises(SystemExit, match="one is not timed"):
        benchmark.check_equal("one", theirs, ours)


def test_a_worker_that_has_ended_raises(tmp_path):
    """A worker may end before its first task, when nothing reads its pipe."""
    worker = Worker("no such side", tmp_path, {})  # the folder holds no problem
    worker.process.wait()
    with pytest.raises(WorkerError):
        worker("population")
    worker.close()


def test_all_processes_of_a_crashed_setting_are_closed(tmp_path, monkeypatch):
    """A process left running would disturb the next measurement."""
    closed = []

    class Crashing(TorchPopulation):
        def __init__(self, folder, **setting):
            pass

        def __call__(self, individuals, batch_stats):
            raise WorkerError

        def close(self):
            closed.append(True)

    monkeypatch.setattr(benchmark, "TorchPopulation", Crashing)
    size = benchmark.FULL._replace(tries=2)
    with pytest.raises(SystemExit):
        benchmark.compare_populations(tmp_path, None, size)
    assert closed == [True, True]


def test_the_process_with_a_warm_cache_is_the_one_that_is_timed(tmp_path, monkeypatch):
    workers = []

    class FakeWorker:
        def __init__(self, side, folder, env, *, cache):
            workers.append(self)
            self.arguments, self.closed = (side, cache), False

        def __call__(self, task):
            return {"seconds": len(workers)}

        def close(self):
            self.closed = True

    monkeypatch.setattr(benchmark, "Worker", FakeWorker)
    worker, cold, warm = benchmark.compile_twice(tmp_path)
    assert (cold, warm) == ({"seconds": 1}, {"seconds": 2})
    assert workers[0].arguments == worker.arguments and worker is workers[1]
    assert workers[0].closed and not worker.closed


@pytest.fixture
def cache(tmp_path):
    """A folder for JAX's compilation cache, which the sides set."""
    before = jax.config.jax_compilation_cache_dir
    yield str(tmp_path / "cache")
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_programs_of_a_search_are_compiled_once_and_then_read(cache, monkeypatch):
    monkeypatch.setattr(program_cache, "_REMEMBERED", {})
    monkeypatch.setitem(SPACES, small_space.SPACE.name, small_space.SPACE)
    side = epoch.SearchSide(epoch.tiny_plan(), cache)
    assert side.compile()["seconds"] > 0
    monkeypatch.setattr(program_cache, "_REMEMBERED", {})
    monkeypatch.setattr(program_cache, "_lower", None)  # nothing is traced again
    side.compile()


def test_the_torch_loop_computes_what_we_compute(tmp_path, cache):
    pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.jax_side import JaxSide
    from benchmarks.torch_side import TorchSide

    config = SupernetConfig(channels=4, layers=3, partial_channels=2)
    drawn = problem.draw(config, individuals=3)
    drawn = drawn._replace(images=drawn.images[:, :8, :8])
    first = TorchSide(drawn, channels_last=False, threads=1)
    problem.save(drawn._replace(weights=first.weights()), tmp_path)
    ours = JaxSide(problem.load(tmp_path), cache)
    # torch 2.14 corrupts memory in the backward pass of channels_last on a CPU
    torch = Worker("torch", tmp_path, {}, channels_last=False, threads=1)
    assert ours.compile()["seconds"] > 0
    for batch_stats in ("running", "batch"):
        theirs = torch(
            "population", individuals=[0, 1, 2], batch_stats=batch_stats, chunk=64
        )
        result = ours.population(batch_stats=batch_stats)
        np.testing.assert_allclose(result["loss"], theirs["loss"], rtol=1e-5)
        assert result["correct"] == theirs["correct"]
    theirs = torch("weight_step", steps=3)["loss"]
    torch.close()
    losses = ours.weight_step(steps=2)["loss"]
    np.testing.assert_allclose(losses, [theirs[0], np.mean(theirs[1:])], rtol=1e-4)


@pytest.fixture(scope="module")
def measured():
    """Times of three primitives on a few pixels."""
    names = ("max_pool_3x3", "dil_conv_3x3", "skip_connect")
    return primitives.measure(primitives.Size(names, (1,), (2, 2, 4, 4, 2), 0.0))


def test_every_implementation_of_a_primitive_is_timed_in_every_mode(measured):
    assert (measured["backend"], measured["shape"]) == ("cpu", (2, 2, 4, 4, 2))
    ways = {
        "dil_conv_3x3": ["shifted", "grouped", "dense", "matrix"],
        "max_pool_3x3": ["shifted", "grouped"],
        # implementations that give an earlier one's program are left out
        "skip_connect": ["shifted"],
    }
    for name, expected in ways.items():
        for mode in ("eval", "train", "gradient"):
            rows = [
                row
                for row in measured["rows"]
                if (row["primitive"], row["mode"]) == (name, mode)
            ]
            assert [row["implementation"] for row in rows] == expected
            for row in rows:
                assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
                assert row["calls"] == 3
    table = primitives.report(measured)
    assert table.startswith("cpu (") and table.count("| dil_conv_3x3 | 1 |") == 3


def test_implementations_that_differ_are_not_timed():
    same = {"shifted": [np.ones(3), np.zeros(2)], "dense": [np.ones(3), np.zeros(2)]}
    primitives.check_equal(same, "a kernel")
    for wrong in (1.01, np.nan):
        other = {**same, "dense": [np.array([1.0, 1.0, wrong]), np.zeros(2)]}
        with pytest.raises(SystemExit, match="a kernel: dense differs"):
            primitives.check_equal(other, "a kernel")
