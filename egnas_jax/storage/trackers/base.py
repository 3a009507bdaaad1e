"""Defines what a tracker gets: a run, and the records of its epochs."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from egnas_jax.storage import records


class TrackedRun(NamedTuple):
    """A run whose metrics are tracked.

    Attributes:
      folder: run directory.
      first_epoch: of this process, from 0.
      settings: dotted path -> value, of its configuration.
    """

    folder: pathlib.Path
    first_epoch: int
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the run is called: its directory and the one above."""
        return "/".join(self.folder.resolve().parts[-2:])

    def stored_id(self, tracker: str) -> str | None:
        """The id by which a tracker knows the run, if an earlier process stored it."""
        path = self.folder / f"{tracker}.json"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads(path.read_text())["id"])
        return None

    def store_id(self, tracker: str, identity: str) -> None:
        """Stores that id in the run directory, for a process that resumes the run."""
        records.write_json(self.folder / f"{tracker}.json", {"id": identity})


# (run) -> a context that gives a function which writes an epoch's record
Writer = Callable[
    [TrackedRun], contextlib.AbstractContextManager[Callable[[Mapping], None]]
]


def numbers_of(record: Mapping) -> dict[str, float]:
    """The numbers of an epoch's record, except that of the epoch."""
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, (int, float)) and name != "epoch"
    }
