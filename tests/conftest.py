"""Sets JAX up strictly for all tests, and holds the fixtures that many tests share."""

import contextlib
import gc
import itertools
import json
import logging
import os
import pathlib
import re
import signal

# A shell that starts the tests in the background ignores SIGINT, which the tests and
# the processes that they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Programs that one test compiles serve other tests and the processes that they start.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "programs")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tracing makes many objects that stay. By default they start a collection so often that
# it takes a quarter of the time of tracing.
gc.set_threshold(100_000, 20, 100)

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.lowering import options
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.space import SPACES, Genotype
from egnas_jax.types import Batch

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.devices()  # XLA reads XLA_FLAGS once, here, before a test changes them

GOLDEN = os.environ.get("EGNAS_GOLDEN") or ROOT / "tests" / "golden"
GOLDEN = pathlib.Path(GOLDEN).absolute()
# Where a collection keeps these files that does not hold them beside the others.
ELSEWHERE = {
    "genotypes.json": GOLDEN.parent / "spec" / "genotypes.json",
    "nasbench201.npz": GOLDEN.parent / "tables" / "nasbench201.npz",
}
# every cell of NAS-Bench-201, u8[15625, 6]
CELLS = np.asarray(list(itertools.product(range(5), repeat=6)), np.uint8)


@pytest.fixture(autouse=True)
def trace_counters():
    """Starts the counters of `chex.assert_max_traces` anew in every test."""
    chex.clear_trace_counter()


@pytest.fixture
def readers_options(monkeypatch):
    """Programs of tiny images are compiled with the options that a user's have.

    They are chosen once a process, and the tests run with XLA_FLAGS.
    """
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    options._quick.cache_clear()
    yield
    options._quick.cache_clear()


@contextlib.contextmanager
def _logged_compilations():
    names = []
    handler = logging.Handler()
    handler.emit = lambda record: names.extend(
        re.findall(r"^Finished XLA compilation of (\S+)", record.getMessage())
    )
    logger = logging.getLogger("jax")
    logger.addHandler(handler)
    # The context manager of the same name would reach this thread alone.
    jax.config.update("jax_log_compiles", True)
    try:
        yield names
    finally:
        jax.config.update("jax_log_compiles", False)
        logger.removeHandler(handler)


@pytest.fixture(scope="session")
def logged_compilations():
    """A context manager that lists the programs compiled or read from the cache.

    Its value is a list of their names that grows as they are compiled.
    """
    return _logged_compilations


@pytest.fixture(scope="session")
def golden_file():
    """Returns the path of a golden file by its name, and fails where there is none."""

    def find(name):
        for path in (GOLDEN / name, ELSEWHERE.get(name, GOLDEN / name)):
            if path.is_file():
                return path
        pytest.fail(
            f"The folder of golden numbers, {GOLDEN}, has no {name}. EGNAS_GOLDEN "
            f"must name a folder that holds every file of tests/golden, or be unset.",
            pytrace=False,
        )

    return find


@pytest.fixture(scope="session")
def load_golden(golden_file):
    """Reads the arrays of one golden file by their names."""

    def load(name):
        with np.load(golden_file(f"{name}.npz")) as file:
            return dict(file)

    return load


def _read_network_fields(arrays):
    """Configuration as JSON holds it, and the weights by their torch names."""
    weights = {n.removeprefix("w/"): arrays[n] for n in arrays if n.startswith("w/")}
    return json.loads(str(arrays["config"])), weights


@pytest.fixture(scope="session")
def load_golden_supernet(load_golden):
    """Reads one golden file of a search network.

    Returns:
      Its arrays, the configuration, and the weights by their torch names.
    """

    def load(name):
        arrays = load_golden(name)
        fields, weights = _read_network_fields(arrays)
        config = SupernetConfig(
            channels=fields["channels"],
            layers=fields["layers"],
            num_classes=fields["classes"],
            partial_channels=fields["partial"],
        )
        return arrays, config, weights

    return load


@pytest.fixture(scope="session")
def load_golden_network(load_golden):
    """Reads one golden file of a derived network.

    Returns:
      Its arrays, genotype, configuration, and the weights by their torch names. The
      configuration has the auxiliary head where the file has its weights.
    """

    def load(name):
        arrays = load_golden(name)
        fields, weights = _read_network_fields(arrays)
        config = NetworkConfig(
            channels=fields["channels"],
            layers=fields["layers"],
            num_classes=fields["classes"],
            auxiliary="auxiliary_head.classifier.weight" in weights,
        )
        return arrays, Genotype(**fields["genotype"]), config, weights

    return load


@pytest.fixture(scope="session")
def nasbench201(golden_file, load_golden, tmp_path_factory):
    """Path of a table of NAS-Bench-201 that holds the benchmark's own values.

    Where the golden file holds a part of the cells, the others are put at the indices
    that are left, in any order, with accuracies below those of every real cell.
    """
    part = load_golden("nasbench201")
    rows = part["index"]
    if len(rows) == len(CELLS):
        return golden_file("nasbench201.npz")
    known = {tuple(cell) for cell in part["edge_ops"]}
    others = [cell for cell in CELLS if tuple(cell) not in known]
    free = np.setdiff1d(np.arange(len(CELLS)), rows)
    whole = {"op_names": part["op_names"], "edge_ops": np.empty_like(CELLS)}
    whole["edge_ops"][free] = others
    whole["edge_ops"][rows] = part["edge_ops"]
    for name in part:
        if name.startswith("ep"):
            whole[name] = np.full(len(CELLS), 0.5, np.float32)
            whole[name][rows] = part[name]
    path = tmp_path_factory.mktemp("nasbench201") / "nasbench201.npz"
    np.savez(path, **whole)
    return path


def _toy_apply(
    variables, images, mixing, train=False, many_mixings=False, *, dropout=None
):
    """Logits whose accuracy grows with the mean weight of primitive 3.

    The channels of an image show its class, and the mean weight of primitive 3
    amplifies them. With `train` the logits are twice as large, so that batch
    statistics and running ones give different results.
    """
    weight = jnp.mean(
        jnp.stack([jnp.mean(rows[:, 3]) for rows in mixing.primitives.values()])
    )
    if dropout is not None:  # of elements, which are those of the images
        keep = 1.0 - jnp.asarray(dropout.probability, jnp.float32)
        kept = jax.random.bernoulli(dropout.key, keep, images.shape)
        images = jnp.where(kept, images / keep, 0.0)
    features = jnp.mean(images, axis=(1, 2)) @ variables["params"]["kernel"]
    logits = (2.0 if train else 1.0) * 6.0 * weight * features
    return logits, variables["batch_stats"]


def _toy_init(key, image_shape=(4, 4, 3)):
    channels = image_shape[-1]
    kernel = jnp.eye(channels) + 0.1 * jax.random.normal(key, (channels, channels))
    return {"params": {"kernel": kernel}, "batch_stats": {"seen": jnp.zeros(())}}


@pytest.fixture(scope="session")
def toy_net():
    """A supernet of one matrix that compiles at once and whose best cell is known.

    The best cell takes primitive 3 on every edge. Classes are the three channels.
    """
    config = SupernetConfig(channels=4, layers=2, num_classes=3)
    return Supernet(config, _toy_init, _toy_apply)


@pytest.fixture(scope="session")
def toy_batch():
    """24 noisy images of 4x4x3 whose brightest channel is their class."""
    key_label, key_noise = jax.random.split(jax.random.key(5))
    labels = jax.random.randint(key_label, (24,), 0, 3)
    signal = jax.nn.one_hot(labels, 3)[:, None, None, :]
    noise = jax.random.normal(key_noise, (24, 4, 4, 3))
    return Batch(signal + 2.0 * noise, labels)


@pytest.fixture(scope="session")
def write_table():
    """Writes a table of NAS-Bench-201 with made-up accuracies.

    Returns:
      (path, accuracies) -> the choices of all cells, u8[15625, 6]. `accuracies` maps
      the choices to (validation, test) accuracies in percent.
    """

    def write(path, accuracies):
        valid, test = accuracies(CELLS)
        np.savez(
            path,
            op_names=list(SPACES["nasbench201"].primitives),
            edge_ops=CELLS,
            ep12_cifar10_val=valid,
            ep200_cifar10_test=test,
        )
        return CELLS

    return write


@pytest.fixture(scope="session")
def convolution_table(tmp_path_factory, write_table):
    """File of a table in which every 3x3 convolution of a cell adds ten points."""
    path = tmp_path_factory.mktemp("table") / "table.npz"

    def accuracies(cells):
        counts = (cells == 3).sum(axis=1)
        return (10 * counts + 20).astype("f4"), (10 * counts + 30).astype("f4")

    write_table(path, accuracies)
    return path
