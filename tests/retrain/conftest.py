"""One tiny retraining for this folder: digits, three cells, four epochs."""

import pytest

from egnas_jax.runs.retrain import prepare
from egnas_jax.runs.retrain_config import retrain_config, with_genotype
from egnas_jax.runs.retrain_data import load_data
from egnas_jax.settings import assignments
from egnas_jax.space import Genotype

# each kind of cell with and without weights; compiles in seconds
CELLS = Genotype(
    [("max_pool_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("none", 2)],
    [2, 3],
    [("skip_connect", 0), ("avg_pool_3x3", 1), ("dil_conv_3x3", 1), ("none", 0)],
    [2, 3],
)
TINY = {
    "epochs": 4,
    "batch_size": 64,
    "steps_per_call": 8,
    "learning_rate": 0.1,
    "network.channels": 4,
    "network.layers": 3,
    "network.drop_path": 0.2,
}


def ignore(record_or_note):
    pass


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Prepares the tiny retraining under changed settings, "path=value" each."""

    def make(*overrides, log=ignore):
        config = retrain_config(settings=TINY | assignments(overrides))
        source, config = load_data(with_genotype(config, CELLS))
        folder = tmp_path_factory.mktemp("run")
        run, _ = prepare(source, config, folder, on_epoch=ignore, log=log)
        return run

    return make
