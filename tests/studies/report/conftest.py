"""Writes metrics.jsonl as searches and retrainings do, without running them."""

import math

import pytest

from egnas_jax.cli.main import main
from egnas_jax.space import zoo
from egnas_jax.storage import records
from egnas_jax.studies.report.curves import QUANTILES, QUANTITIES


def _search_line(epoch, seed=0, better=0.0, population=True):
    """Record of a search that improves every epoch."""
    accuracy = 0.5 + 0.1 * math.log1p(epoch) + 0.01 * seed * seed + better
    line = {
        "epoch": epoch,
        "train_loss": 2 - accuracy,
        "train_accuracy": accuracy,
        "valid_loss": 2.1 - accuracy,
        "valid_accuracy": accuracy - 0.05,
        "learning_rate": 0.1,
        "entropy_normal": 1.9 - 0.1 * epoch,
        "entropy_reduce": 1.9 - 0.05 * epoch,
        "skip_normal": epoch % 4,
        "skip_reduce": 1,
        "pool_normal": 2,
        "pool_reduce": seed,
        "digest": "d",
        "seconds": 3.0 + seed,
        "genotype": zoo["DARTS_V2"].genotype.format(),
    }
    for quantity in QUANTITIES if population else ():
        for index, name in enumerate(QUANTILES):
            value = None if epoch == 0 else 0.2 * index + 0.01 * epoch
            line[f"population_{quantity}_{name}"] = value
    return line


def _retrain_line(epoch, seed=0, better=0.0):
    """Record of a retraining that computes the test error every second epoch."""
    error = None if epoch % 2 else 0.3 / (epoch + 1) + 0.01 * seed - better
    return {
        "epoch": epoch,
        "train_loss": 1 / (epoch + 1),
        "train_accuracy": 0.9,
        "test_error": error,
        "seconds": 2.0,
    }


@pytest.fixture(scope="session")
def search_line():
    """(epoch, seed, better, population) -> record of a search."""
    return _search_line


@pytest.fixture(scope="session")
def retrain_line():
    """(epoch, seed, better) -> record of a retraining."""
    return _retrain_line


def _writer(root):
    """A function that writes a run's metrics.jsonl, and config.json of its settings."""

    def write(name, epochs=3, settings=None, make=_search_line, **options):
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        for epoch in range(epochs):
            records.append(folder / "metrics.jsonl", make(epoch, **options))
        if settings is not None:
            records.write_json(folder / "config.json", settings)
        return folder

    return write


@pytest.fixture
def write_run(tmp_path):
    """Writes a run below tmp_path / "runs" and returns its directory."""
    return _writer(tmp_path)


@pytest.fixture(scope="session")
def report_root(tmp_path_factory):
    """Folder with two searches and a retraining in runs/, their report in report/."""
    root = tmp_path_factory.mktemp("report")
    write = _writer(root)
    folders = [
        write("x<&|y/seed0", epochs=2),
        write("b/seed0", epochs=2, better=0.1),
        write("net/seed0", make=_retrain_line),
    ]
    command = ["report", *map(str, folders), "--out", str(root / "report")]
    assert main(command) == 0
    return root
