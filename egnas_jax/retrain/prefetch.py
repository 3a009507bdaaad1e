"""Batches that threads read while the device computes.

Pillow and file reads leave the interpreter's lock, so threads are enough.

Dims: B images of a batch, H, W height and width in pixels, C channels.
"""

import concurrent.futures
import os
from collections.abc import Callable

import numpy as np

SLICE = 16  # images of a task: some 0.1 s of ImageNet


class Prefetch:
    """Reads batches by their step, some before they are asked for.

    Which batches were begun early changes no batch, for `read` is pure.
    """

    def __init__(self, rows: Callable, read: Callable):
        """Nothing is read yet.

        Args:
          rows: step -> (epoch, rows [B]).
          read: (epoch, row) -> (u8[H, W, C], label).
        """
        self._rows, self._read = rows, read
        self._begun: dict[int, list[concurrent.futures.Future]] = {}
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def start(self, step: int) -> None:
        """Begins to read a batch, once."""
        if step in self._begun:
            return
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                os.cpu_count(), thread_name_prefix="prefetch"
            )
        epoch, rows = self._rows(step)
        self._begun[step] = [
            self._pool.submit(self._read_all, epoch, rows[i : i + SLICE])
            for i in range(0, len(rows), SLICE)
        ]

    def take(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Images u8[B, H, W, C] and labels i32[B] of a batch; waits for them."""
        self.start(step)
        parts = [task.result() for task in self._begun.pop(step)]
        images, labels = zip(*(pair for part in parts for pair in part), strict=True)
        return np.stack(images), np.asarray(labels, np.int32)

    def close(self) -> None:
        """Drops what was begun; a later `take` begins anew."""
        self._begun.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _read_all(self, epoch, rows):
        return [self._read(epoch, int(row)) for row in rows]
