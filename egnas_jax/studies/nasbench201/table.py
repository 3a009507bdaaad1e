"""Holds NAS-Bench-201's table as device arrays and looks cells up in compiled code.

A cell is six choices of a primitive. Its code is the number with these digits, and the
table knows the row of every code. Accuracies are fractions.

Source: NAS-Bench-201 (Dong & Yang, ICLR 2020): validation accuracy after 12 epochs of
training is for selection, test accuracy after 200 epochs for evaluation.

Dims: R rows, E edges, K primitives.
"""

import flax.struct
import jax.numpy as jnp
import numpy as np

from egnas_jax.space import SPACES, Topology
from egnas_jax.types import Array, Evaluation, Mixing

SPACE = SPACES["nasbench201"]
(KIND,) = SPACE.kinds
NUM_CELLS = len(SPACE.primitives) ** SPACE.num_edges
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet16_120": "ImageNet-16-120",
}
# Accuracies become counts of this many images, so that ties are exact.
NUM_IMAGES = 100_000


@flax.struct.dataclass
class BenchmarkTable:
    """Results on one data set.

    Attributes:
      row_of: row of each code, i32[R].
      choices: primitive of each edge in each row, i32[R, E].
      valid: validation accuracy after 12 epochs, f32[R], fractions.
      test: test accuracy after 200 epochs, f32[R], fractions.
    """

    row_of: Array
    choices: Array
    valid: Array
    test: Array


def make_table(
    choices: np.ndarray, valid: np.ndarray, test: np.ndarray
) -> BenchmarkTable:
    """A table on the device.

    Args:
      choices: integers [R, E]; every cell of the space once, in any order.
      valid, test: fractions [R].
    """
    row_of = np.zeros(NUM_CELLS, np.int32)
    row_of[code_of(choices)] = np.arange(NUM_CELLS)
    return BenchmarkTable(
        row_of=jnp.asarray(row_of),
        choices=jnp.asarray(choices, jnp.int32),
        valid=jnp.asarray(valid, jnp.float32),
        test=jnp.asarray(test, jnp.float32),
    )


def code_of(choices: Array | np.ndarray) -> Array | np.ndarray:
    """Codes [...] of choices [..., E]; the last edge is the least significant digit."""
    code = 0
    for edge in range(SPACE.num_edges):
        code = code * len(SPACE.primitives) + choices[..., edge].astype("int32")
    return code


def rows_of(table: BenchmarkTable, mixings: Mixing) -> Array:
    """Rows [...] of the cells with the strongest primitive of each edge.

    Args:
      table: the table.
      mixings: weights of primitives [..., E, K].
    """
    choices = jnp.argmax(mixings.primitives[KIND], axis=-1)
    return table.row_of[code_of(choices)]


def look_up(table: BenchmarkTable, mixings: Mixing) -> Evaluation:
    """Evaluates mixings by the table instead of a supernet.

    Returns:
      loss: L1 of the fitness, 1 - validation accuracy, [...].
      correct: the accuracy as a count of `NUM_IMAGES` images.
      accuracy: the validation accuracy.
    """
    accuracy = table.valid[rows_of(table, mixings)]
    correct = jnp.round(accuracy * NUM_IMAGES).astype(jnp.int32)
    return Evaluation(1.0 - accuracy, correct, accuracy)


def topology(table: BenchmarkTable, row: int) -> Topology:
    """The cell of one row."""
    return Topology.of_choices(np.asarray(table.choices[row]).tolist())
