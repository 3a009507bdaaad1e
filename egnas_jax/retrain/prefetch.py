"""Reads batches in threads while the device computes.

Pillow and file reads release the interpreter's lock, so threads are enough.

Dims: B images of a batch, H, W height and width in pixels, C channels.
"""

import concurrent.futures
import os
from collections.abc import Callable

import numpy as np

SLICE = 16  # images of a task; reading them takes some 0.1 s on ImageNet


class Prefetch:
    """Reads the batches of training steps, some of them ahead of time.

    Which batches are started early changes no batch, because `read` is pure.
    """

    def __init__(
        self,
        rows: Callable[[int], tuple[int, np.ndarray]],
        read: Callable[[int, int], tuple[np.ndarray, int]],
    ):
        """Reads nothing yet.

        Args:
          rows: step -> (epoch, rows [B]).
          read: (epoch, row) -> (u8[H, W, C], label).
        """
        self._rows, self._read = rows, read
        self._tasks: dict[int, list[concurrent.futures.Future]] = {}
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    def start(self, step: int) -> None:
        """Starts to read the batch of a step, unless it was started already."""
        if step in self._tasks:
            return
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(
                os.cpu_count(), thread_name_prefix="prefetch"
            )
        epoch, rows = self._rows(step)
        self._tasks[step] = [
            self._pool.submit(self._read_all, epoch, rows[i : i + SLICE])
            for i in range(0, len(rows), SLICE)
        ]

    def take(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Waits for the batch of a step: images u8[B, H, W, C] and labels i32[B]."""
        self.start(step)
        slices = [task.result() for task in self._tasks.pop(step)]
        pairs = [pair for pairs in slices for pair in pairs]
        images, labels = zip(*pairs, strict=True)
        return np.stack(images), np.asarray(labels, np.int32)

    def close(self) -> None:
        """Drops the started batches and ends the threads; `take` still works."""
        self._tasks.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _read_all(self, epoch, rows):
        return [self._read(epoch, int(row)) for row in rows]
