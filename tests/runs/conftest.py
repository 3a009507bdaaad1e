"""Two seeds of a tiny retraining, left by the command itself."""

import shutil

import pytest

from egnas_jax.cli.main import main

CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
TINY = [
    "--set",
    "network.channels=4",
    "--set",
    "network.layers=3",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=128",
    "--set",
    "learning_rate=0.1",
]


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """The directory of both; read it alone."""
    out = tmp_path_factory.mktemp("retrained") / "two"
    command = ["retrain", "--genotype", CELLS, *TINY, "--seeds", "2"]
    assert main([*command, "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture
def run(seeds, tmp_path):
    """A copy of the first seed, to be written to."""
    return shutil.copytree(seeds / "seed0", tmp_path / "run")
