"""One cell in several lowerings: the same arrays, and the same results on a CPU."""

import jax
import numpy as np
import pytest

from benchmarks import parity, rows, small_space
from benchmarks.deviceless.cells import PROGRAMS
from benchmarks.gpu import programs
from benchmarks.gpu.sizes import CELLS, full_size
from egnas_jax.nn import lowering
from egnas_jax.space import SPACES


@pytest.fixture(autouse=True)
def space():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, small_space.SPACE.name, small_space.SPACE)
        yield


def row_of(cell, name):
    program = f"{cell}-in-{name}"
    return programs.build(full_size(), "tiny", program, "float32")


def signature_of(row):
    """The first result of a row, as its job writes it."""
    return parity.signature(rows.timed(row, rows.compiled(row), repeats=0).first)


@pytest.mark.parametrize(
    "cell, name", [("cell-running", "grouped"), ("cell-step", "dense")]
)
def test_every_lowering_computes_the_same_from_the_same_arrays(cell, name):
    auto, other = row_of(cell, "auto"), row_of(cell, name)
    jax.tree.map(np.testing.assert_array_equal, auto.arguments, other.arguments)
    assert other.name == f"{cell} in {name}"
    theirs = signature_of(auto)
    assert all(norm > 0.0 for norm, _ in theirs.values())
    assert parity.signature_error(theirs, signature_of(other)) < 1e-4


def test_a_population_keeps_one_individual_for_the_comparison():
    row = row_of("cell-batch", "auto")
    result, arguments = row.run(lambda *arguments: np.ones((6, 4, 2)), row.arguments)
    assert result.shape == (1, 4, 2) and arguments is row.arguments


def test_all_cells_are_measured_in_each_lowering_that_they_have():
    named = [programs.lowering_of(program) for program in CELLS]
    assert {cell for cell, _ in named} == set(PROGRAMS)
    assert {name for _, name in named} <= set(lowering.CHOICES)
    # a gradient is never computed by the fused kernels
    assert ("cell-batch", "fused") in named and ("cell-step", "fused") not in named
    assert programs.lowering_of("weight-step") is None
