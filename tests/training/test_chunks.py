"""Rows that are processed in chunks give what they give one after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.training.chunks import chunked, map_in_chunks


def test_the_last_chunk_is_filled_with_the_last_row():
    chunks, number = chunked({"a": jnp.arange(5)}, 5, 2)
    assert number == 3
    assert chunks["a"].tolist() == [[0, 1], [2, 3], [4, 4]]


@pytest.mark.parametrize("chunk, loops", [(1, 7), (3, 3), (7, 1), (100, 1)])
def test_chunks_change_no_result(chunk, loops):
    rows = jnp.arange(7.0), jax.random.split(jax.random.key(0), 7)

    def function(row):
        number, key = row
        return number + jax.random.uniform(key)

    def run(rows):
        return map_in_chunks(function, rows, chunk)

    expected = [float(function((rows[0][i], rows[1][i]))) for i in range(7)]
    np.testing.assert_allclose(run(rows), expected, rtol=1e-6)
    equations = jax.make_jaxpr(run)(rows).jaxpr.eqns
    lengths = [e.params["length"] for e in equations if e.primitive.name == "scan"]
    assert lengths == [loops]
