"""The benchmark's pairing, and that its opponent computes what we compute."""

import numpy as np
import pytest

from benchmarks import problem
from benchmarks.__main__ import compile_seconds, first_calls
from benchmarks.timing import Comparison, alternate
from egnas_jax.nn.supernet import SupernetConfig


def test_pairs_alternate_in_who_goes_first():
    order = []

    def side(name, seconds):
        def run():
            order.append(name)
            return {"seconds": seconds}

        return run

    compared = alternate(side("torch", 6.0), side("ours", 2.0), pairs=3)
    assert order == ["torch", "ours", "ours", "torch", "torch", "ours"]
    assert compared == Comparison([6.0] * 3, [2.0] * 3)


def test_a_summary_takes_the_median_of_the_ratios_not_of_the_seconds():
    summary = Comparison([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).summary()
    assert summary["ratio"] == 3.0  # of 2, 3, 4
    assert (summary["ratio_min"], summary["ratio_max"]) == (2.0, 4.0)
    assert (summary["torch_s"], summary["ours_s"]) == (4.0, 1.0)


class Recorded:
    """A worker that answers at once, in the order in which it was asked."""

    def __init__(self, log, *seconds):
        self.log, self.seconds = log, iter(seconds)

    def start(self, task, **arguments):
        self.log.append((task, arguments.get("batch_stats")))

    def finish(self):
        self.log.append("finish")
        return {"compile_s": next(self.seconds)}


def test_both_processes_compile_at_once_and_all_programs_count():
    log = []
    firsts = first_calls(Recorded(log, 2.0, 5.0), Recorded(log, 9.0), individuals=3)
    assert log == [
        ("population", "running"), ("population", "batch"), ("weight_step", None),
        *["finish"] * 3,
    ]  # fmt: skip
    each = {"running": 2.0, "batch": 5.0, "weight_step": 9.0}
    assert compile_seconds(firsts) == {"sum": 16.0, "each": each}


def test_the_torch_loop_computes_the_same(tmp_path):
    pytest.importorskip("torch", reason="needs the extra bench")
    from benchmarks.jax_side import JaxSide
    from benchmarks.torch_side import TorchSide

    config = SupernetConfig(channels=4, layers=3, partial_channels=2)
    drawn = problem.draw(config, individuals=3)
    drawn = drawn._replace(images=drawn.images[:, :8, :8])
    first = TorchSide(drawn, channels_last=False, threads=1)
    problem.save(drawn._replace(weights=first.weights()), tmp_path)
    given = problem.load(tmp_path)
    torch = TorchSide(given, channels_last=True, threads=1)
    ours = JaxSide(given, cache=str(tmp_path / "cache"))
    for batch_stats in ("running", "batch"):
        chosen = dict(individuals=[0, 2], batch_stats=batch_stats)
        theirs = torch.population(chunk=64, **chosen)
        own = ours.population(**chosen)
        np.testing.assert_allclose(own["loss"], theirs["loss"], rtol=1e-5)
        assert own["correct"] == theirs["correct"]
    theirs, own = torch.weight_step(steps=3)["loss"], ours.weight_step(steps=2)["loss"]
    np.testing.assert_allclose(own, [theirs[0], np.mean(theirs[1:])], rtol=1e-4)
