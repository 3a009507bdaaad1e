"""Two seeds of a tiny retraining, trained by the command line."""

import shutil

import pytest

from egnas_jax.cli.main import main


def set_options(settings):
    """Words of a command line that set space-separated "path=value" entries."""
    return [word for setting in settings.split() for word in ("--set", setting)]


CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
TINY = set_options(
    "network.channels=4 network.layers=3 epochs=2 batch_size=128 learning_rate=0.1"
)


@pytest.fixture(scope="session")
def cells():
    """Text of a genotype that compiles in seconds."""
    return CELLS


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """The directory of both seeds, which no test may change."""
    out = tmp_path_factory.mktemp("retrained") / "two"
    command = ["retrain", "--genotype", CELLS, *TINY, "--seeds", "2"]
    assert main([*command, "--out", str(out), "--json"]) == 0
    return out


@pytest.fixture
def run(seeds, tmp_path):
    """A copy of the first seed's directory, which a test may change."""
    return shutil.copytree(seeds / "seed0", tmp_path / "run")
