"""Strict settings for every test, made before JAX starts."""

import contextlib
import json
import logging
import os
import pathlib
import re

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# programs compiled by one test serve the next, and the processes that tests start
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "programs")
)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.space import SPACES, Genotype
from egnas_jax.types import Batch

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

SHARED = ROOT.parent / "shared"


@contextlib.contextmanager
def _logged_compilations():
    names = []
    handler = logging.Handler()
    handler.emit = lambda line: names.extend(
        re.findall(r"^Finished XLA compilation of (\S+)", line.getMessage())
    )
    logger = logging.getLogger("jax")
    logger.addHandler(handler)
    jax.config.update("jax_log_compiles", True)  # in all threads
    try:
        yield names
    finally:
        jax.config.update("jax_log_compiles", False)
        logger.removeHandler(handler)


@pytest.fixture(scope="session")
def logged_compilations():
    """A context whose list grows by the names of programs that are compiled or read
    from the cache, in order."""
    return _logged_compilations


@pytest.fixture(scope="session")
def golden():
    """Folder of the golden numbers; tests skip where a checkout has none."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}")
    return folder


@pytest.fixture(scope="session")
def nasbench201():
    """Path of the benchmark's table; tests skip where a checkout has none."""
    path = SHARED / "tables" / "nasbench201.npz"
    if not path.is_file():
        pytest.skip(f"no table of NAS-Bench-201 at {path}")
    return path


@pytest.fixture(scope="session")
def load_golden(golden):
    """Reads one golden file: its arrays by name, the file closed at once."""

    def load(name):
        with np.load(golden / f"{name}.npz") as file:
            return dict(file)

    return load


@pytest.fixture(scope="session")
def load_golden_supernet(load_golden):
    """Reads one golden file of a search network.

    Returns:
      Its arrays, the configuration, and the weights by their torch names.
    """

    def load(name):
        z = load_golden(name)
        given = json.loads(str(z["config"]))
        config = SupernetConfig(
            channels=given["channels"],
            layers=given["layers"],
            num_classes=given["classes"],
            partial_channels=given["partial"],
        )
        weights = {n.removeprefix("w/"): z[n] for n in z if n.startswith("w/")}
        return z, config, weights

    return load


@pytest.fixture(scope="session")
def load_golden_network(load_golden):
    """Reads one golden file of a derived network.

    Returns:
      Its arrays, genotype, configuration, and the weights by their torch names.
    """

    def load(name):
        z = load_golden(name)
        given = json.loads(str(z["config"]))
        config = NetworkConfig(given["channels"], given["layers"], given["classes"])
        weights = {n.removeprefix("w/"): z[n] for n in z if n.startswith("w/")}
        return z, Genotype(**given["genotype"]), config, weights

    return load


def _toy_apply(variables, images, mixing, train=False, many=False):
    """Logits that are right in the measure in which every edge takes primitive 3.

    An image shows its class in its channels; the answer is amplified by the mean weight
    of primitive 3. Batch statistics (`train`) sharpen it, so that they can be told from
    running ones.
    """
    good = jnp.mean(
        jnp.stack([jnp.mean(rows[:, 3]) for rows in mixing.primitives.values()])
    )
    features = jnp.mean(images, axis=(1, 2)) @ variables["params"]["kernel"]
    logits = (2.0 if train else 1.0) * 6.0 * good * features
    return logits, variables["batch_stats"]


def _toy_init(key, image_shape=(4, 4, 3)):
    kernel = jnp.eye(image_shape[-1]) + 0.1 * jax.random.normal(
        key, (image_shape[-1], image_shape[-1])
    )
    return {"params": {"kernel": kernel}, "batch_stats": {"seen": jnp.zeros(())}}


@pytest.fixture(scope="session")
def toy_net():
    """A "supernet" that compiles at once and has a known best cell: primitive 3.

    Classes are channels, three of them.
    """
    config = SupernetConfig(channels=4, layers=2, num_classes=3)
    return Supernet(config, _toy_init, _toy_apply)


@pytest.fixture(scope="session")
def toy_batch():
    """24 images 4x4x3 that show their class, some of them faintly, in some noise."""
    key_label, key_noise = jax.random.split(jax.random.key(5))
    labels = jax.random.randint(key_label, (24,), 0, 3)
    shown = jax.nn.one_hot(labels, 3)[:, None, None, :]
    noise = jax.random.normal(key_noise, (24, 4, 4, 3))
    return Batch(shown + 2.0 * noise, labels)


@pytest.fixture(scope="session")
def write_table():
    """Writes a table of NAS-Bench-201 whose accuracies follow from the choices.

    Returns:
      (path, accuracies) -> the choices of all cells, u8[15625, 6]; accuracies is
      choices -> (validation, test), percent.
    """

    def write(path, accuracies):
        cells = np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), -1)
        cells = cells.reshape(-1, 6).astype(np.uint8)
        valid, test = accuracies(cells)
        np.savez(
            path,
            op_names=list(SPACES["nasbench201"].primitives),
            edge_ops=cells,
            ep12_cifar10_val=valid,
            ep200_cifar10_test=test,
        )
        return cells

    return write
