"""Strict settings for every test, made before JAX starts."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = pathlib.Path(__file__).resolve().parents[1]
# programs compiled by one test serve the next, and the processes that tests start
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "programs")
)

import jax
import numpy as np
import pytest

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def golden():
    """Folder of the golden numbers; tests skip where a checkout has none."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}")
    return folder


@pytest.fixture(scope="session")
def load_golden(golden):
    """Reads one golden file: its arrays by name, the file closed at once."""

    def load(name):
        with np.load(golden / f"{name}.npz") as file:
            return dict(file)

    return load
