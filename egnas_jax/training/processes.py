"""Communicates between the processes of one search.

All processes must run the same programs in the same order, or one waits for another for
ever. So whatever one process alone knows (a file, a signal, an error, its free memory)
is communicated before any of them acts upon it. With one process nothing is
communicated.

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
    """Raised by all processes when one of them cannot go on."""


def is_first() -> bool:
    """Returns whether this process reads and writes the run directory."""
    return jax.process_index() == 0


def allgather_json(value: Any) -> list[Any]:
    """Returns the JSON values of all processes, in their order."""
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
    """Returns whether the flag is set in any process."""
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def run_on_all(function: Callable) -> Any:
    """Calls function() on every process; an error in one of them ends all.

    Raises:
      ValueError, OSError: with one process, as `function` raises it.
      SharedError: with several processes, on each, with the number of the first that
        failed.
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
    """Broadcasts the arrays of process 0, bit for bit.

    Args:
      tree: a tree of arrays, with the same structure, shapes and dtypes in all
        processes.

    Returns:
      The tree with numpy arrays; with a single process the tree itself.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    # as bytes, because the broadcast adds zeros, which would turn -0.0 into 0.0
    content = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    sent = multihost_utils.broadcast_one_to_all(content)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = np.split(sent, ends[:-1])
    received = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, received)


def min_over_processes(number: int | None) -> int | None:
    """Returns the smallest number of all processes; None where one of them is None.

    It can be called while a program is traced, which is when chunks are chosen.
    """
    if jax.process_count() == 1:
        return number
    with ThreadPoolExecutor(1) as pool:  # JAX traces in this thread alone
        numbers = pool.submit(allgather_json, number).result()
    return None if None in numbers else min(numbers)
