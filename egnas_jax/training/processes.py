"""Several processes that run one search: what they must know of each other.

Every process runs the same programs in the same order, or one waits for a partner that
never comes. So whatever one process alone knows (a file, a signal, an error, its free
memory) is exchanged before any of them acts upon it. With one process nothing is.

Process 0 reads and writes the run directory; the others need none.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from egnas_jax.types import PyTree


class SharedError(ValueError):
    """Raised by all processes where one of them could not go on."""


def is_first() -> bool:
    """Whether this process reads and writes the run directory."""
    return jax.process_index() == 0


def allgather_json(value: Any) -> list[Any]:
    """A JSON value of every process, in their order, on every process."""
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = text
    rows = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)
    ]


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def run_on_all(function: Callable) -> Any:
    """function() on every process; what one cannot use ends all of them.

    Raises:
      ValueError, OSError: with one process, as `function` raises it.
      SharedError: with several, on each, with the number of the first that failed.
    """
    if jax.process_count() == 1:
        return function()
    result, failure = None, None
    try:
        result = function()
    except (ValueError, OSError) as error:
        failure = str(error)
    for number, text in enumerate(allgather_json(failure)):
        if text is not None:
            raise SharedError(f"Process {number}: {text}")
    return result


def broadcast_from_first(tree: PyTree) -> PyTree:
    """The arrays of process 0, bit for bit, on every process.

    Args:
      tree: of arrays; of the same layout everywhere.

    Returns:
      The tree with leaves of numpy; the given one with a single process.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    # as bytes: the others add zeros, by which -0.0 would become 0.0
    own = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    sent = multihost_utils.broadcast_one_to_all(own)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = np.split(sent, ends[:-1])
    received = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, received)


def min_over_processes(number: int | None) -> int | None:
    """The smallest of all processes; None where one does not know it.

    Also while a program is traced, which is where chunks are chosen.
    """
    if jax.process_count() == 1:
        return number
    with ThreadPoolExecutor(1) as untraced:  # what JAX traces, it traces by thread
        numbers = untraced.submit(allgather_json, number).result()
    return None if None in numbers else min(numbers)
