"""Imports experiments as their commands do, and stands in for their runs."""

import dataclasses
import importlib
import pathlib
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import egnas_jax
from egnas_jax.space import Space, zoo
from egnas_jax.storage import records

ROOT = pathlib.Path(__file__).resolve().parents[2]
CELL = zoo["DARTS_V2"].genotype
# Choices of three populations: all pairs of weights alike; in halves; the first pair
# differs from all others.
GRID = [[4] * 16, [1] * 8 + [2] * 8, [5] + [6] * 15]
SECONDS = (9.0, 1.0, 50.0, 2.0, 4.0)  # of five epochs
TAKEN_OVER = 3  # of these, by a fork


@pytest.fixture
def load(monkeypatch):
    """Imports a file of experiments/ as its own command does."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module


@pytest.fixture
def tiny_space():
    """One node and two primitives: a network that compiles in seconds."""
    return Space("tiny", primitives=("avg_pool_3x3", "skip_connect"), num_nodes=1)


class Call(NamedTuple):
    """A call of `run_search` or of `run_retraining`."""

    config: object
    out: pathlib.Path
    genotype: object = None
    restore: pathlib.Path | None = None
    stop_after: int | None = None
    resume: bool = False

    @property
    def is_search(self) -> bool:
        return self.genotype is None


@dataclasses.dataclass
class StandIn:
    """Notes calls, and writes what a run records without running it.

    Attributes:
      metrics: call -> entries of summary.json.
      calls: so far.
      batched: of the calls of `run_searches` so far.
    """

    metrics: object
    calls: list[Call] = dataclasses.field(default_factory=list)
    batched: list[str | int] = dataclasses.field(default_factory=list)

    def run_search(
        self, config, *, out, data_dir, resume, restore, stop_after, on_epoch
    ):
        options = dict(restore=restore, stop_after=stop_after, resume=resume)
        self.record(Call(config, out, **options))

    def run_searches(self, configs, out, *, batched, restores, log, **options):
        """Notes one call for each search."""
        self.batched.append(batched)
        for config, folder, restore in zip(configs, out, restores, strict=True):
            self.run_search(config, out=folder, restore=restore, **options)
        return SimpleNamespace(errors={})

    def run_retraining(self, genotype, config, *, out, resume, stop_after, **options):
        call = Call(config, out, genotype, stop_after=stop_after, resume=resume)
        self.record(call)

    def record(self, call: Call) -> None:
        self.calls.append(call)
        call.out.mkdir(parents=True, exist_ok=True)
        summary = {
            "params": 2_500_000,
            "genotype": CELL.format(),
            "valid_accuracy": 0.5,
            "test_error_last": 0.05,
            "search_cost": 300.0,
            "seconds": 9.0,
        }
        summary |= self.metrics(call)
        records.write_json(call.out / "summary.json", summary)
        if call.restore is not None:
            origin = {"run": str(call.restore), "epoch": TAKEN_OVER}
            records.write_json(call.out / "restored.json", origin)
        for epoch, seconds in enumerate(SECONDS):
            images = 100.0 if epoch >= 2 else 0.0
            record = {
                "epoch": epoch,
                "seconds": seconds,
                "valid_accuracy": 0.5,
                "candidate_images": images,
                "weight_cost": 300,
                "search_cost": images,
                "grid_chosen": GRID if images else [[-1] * 16] * 3,
            }
            records.append(call.out / "metrics.jsonl", record)


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces runs by a stand-in; takes a function of the call -> its metrics."""

    def install(metrics):
        fake = StandIn(metrics)
        monkeypatch.setattr(egnas_jax, "run_search", fake.run_search)
        monkeypatch.setattr(egnas_jax, "run_searches", fake.run_searches)
        monkeypatch.setattr(
            egnas_jax, "run_retraining", fake.run_retraining, raising=False
        )
        return fake

    return install
