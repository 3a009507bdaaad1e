"""Programs that are timed, and whether they were compiled or read from a cache."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import programs


@pytest.fixture
def empty_cache(tmp_path):
    """An empty persistent cache."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def compiled_double(size):
    """Compiles a new function, so that nothing but the persistent cache knows it."""

    def double(x):
        return 2.0 * x

    return programs.compile_program(double, jnp.ones(size))


def test_a_program_that_was_read_from_the_cache_says_so(empty_cache):
    first, second = compiled_double(3), compiled_double(3)
    assert not first.from_cache and second.from_cache
    assert second.call(jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]
    other = compiled_double(4)
    assert not other.from_cache  # the hits of one program are not those of the next
