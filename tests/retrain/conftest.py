"""One tiny retraining for this folder: digits, three cells, four epochs."""

import pytest

from egnas_jax.runs import retrain, retrain_config
from egnas_jax.space import Genotype

# each kind of cell with and without weights; compiles in seconds
CELLS = Genotype(
    [("max_pool_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("none", 2)],
    [2, 3],
    [("skip_connect", 0), ("avg_pool_3x3", 1), ("dil_conv_3x3", 1), ("none", 0)],
    [2, 3],
)
TINY = [
    "epochs=4",
    "batch_size=64",
    "steps_per_call=8",
    "learning_rate=0.1",
    "network.channels=4",
    "network.layers=3",
    "network.drop_path=0.2",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Makes the tiny run under changed settings: (configuration, run, model)."""

    def make(*overrides, said=None):
        config = retrain_config.build(CELLS, overrides=[*TINY, *overrides])
        folder = tmp_path_factory.mktemp("run")
        report = (lambda line: None) if said is None else said.append
        return retrain.prepare(config, None, folder, report)

    return make
