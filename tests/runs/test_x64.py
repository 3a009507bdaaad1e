"""JAX_ENABLE_X64 changes no run."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json
import sys

import jax

import egnas_jax as eg
from egnas_jax.runs.finished_search import valid_batches
from egnas_jax.space import SPACES, Space

CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
SPACES["tiny"] = Space(
    "tiny", primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"), num_nodes=1
)
out = sys.argv[1]
small = {"epochs": 2, "batch_size": 128}
search = eg.search_config(
    space="tiny",
    settings=small
    | {"supernet.channels": 4, "supernet.layers": 2, "strategy.population": 4}
    | {"strategy.fitness_batch_size": 64},
)
network = {"network.channels": 4, "network.layers": 3, "network.drop_path": 0.2}
result = eg.run_search(search, out=out + "/search")
trained = eg.run_retraining(
    CELLS, eg.retrain_config(settings=small | network), out=out + "/net"
)
loaded = eg.load_search(out + "/search")
images, _ = valid_batches(loaded, 2, 8, seed=0)
print(json.dumps({
    "x64": jax.config.jax_enable_x64,
    "search": [record["digest"] for record in result.records],
    "retraining": [record["digest"] for record in trained.records],
    "loaded": eg.load_network(out + "/net").digest,
    "images": [str(images.dtype), float(images.sum())],
}))
"""


@pytest.mark.slow
def test_runs_in_64_bits_have_the_digests_of_others(tmp_path):
    results = []
    for name in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / name)],
            env=os.environ | {"JAX_ENABLE_X64": name},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert [result.pop("x64") for result in results] == [False, True]
    assert results[0] == results[1]
