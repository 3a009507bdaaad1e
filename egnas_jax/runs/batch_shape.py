"""Decides how many runs are computed at a time, and how devices divide them.

The bits of a run depend on its position in the program of one device, which computes
`width` runs. They do not depend on the number of devices that run this program. So a
resumed run keeps the width and the position that it began with.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from egnas_jax.runs.environment import place_of
from egnas_jax.settings import is_whole
from egnas_jax.training.out_of_memory import OutOfMemoryError, free_bytes

MODES = ("auto", "on", "off")
ONE_BY_ONE = 0  # the width where no two runs are computed together
# Fraction of the free memory that the programs of a batch may reserve; a margin for
# what the process allocates beside them.
SHARE = 0.9


class BatchShape(NamedTuple):
    """How devices divide a batch.

    Attributes:
      width: runs that a device computes together, members of its program.
      devices: number of devices; each runs the same program for its own runs.
    """

    width: int
    devices: int = 1

    @property
    def at_a_time(self) -> int:
        """Runs of all devices together."""
        return self.width * self.devices

    def place(self, index: int, names: Sequence[str]) -> dict[str, Any]:
        """Returns what environment.json says of one run of the batch.

        Args:
          index: of the run in the batch.
          names: of all its runs.
        """
        device, position = divmod(index, self.width)
        return {
            "batched": True,
            "members": self.width,
            "position": position,
            "device": device,
            "devices": self.devices,
            "runs": list(names),
        }


def has_begun(folder: pathlib.Path | None) -> bool:
    """Whether the directory of a run may hold checkpoints."""
    return folder is not None and folder.exists()


def check_mode(batched: str | int) -> None:
    """Refuses an unknown way to compute several runs.

    Args:
      batched: "auto", "on", "off", or how many runs are computed at a time.

    Raises:
      ValueError: another word, or a number below 1.
    """
    if batched in MODES:
        return
    if not is_whole(batched) or batched < 1:
        raise ValueError(
            f"batched is {batched!r}, but must be auto, on, off, or a number of runs "
            f"at a time from 1."
        )


def check_one_process() -> None:
    """Refuses batches where several processes compute one run.

    Raises:
      ValueError: there are several.
    """
    if jax.process_count() > 1:
        raise ValueError(
            f"A batch computes in one process, and there are {jax.process_count()}. "
            f"Start one, or run one after another (batched off)."
        )


def even_width(count: int, most: int, devices: int = 1) -> int:
    """Returns how many runs a device computes together, all batches about as full.

    Args:
      count: number of runs.
      most: the most runs at a time, on all devices together.
      devices: number of devices that divide a batch.
    """
    batches = -(-count // (-(-most // devices) * devices))
    return -(-count // (batches * devices))


def shape_of(count: int, width: int, devices: int) -> BatchShape:
    """Returns the shape of batches of a width, without devices that have nothing to do.

    Args:
      count: number of runs.
      width: runs that a device computes together.
      devices: number of devices.
    """
    return BatchShape(width, min(devices, -(-count // width)))


def chosen_width(
    folders: Sequence[pathlib.Path | None],
    batched: str | int,
    devices: int,
    automatic: Callable[[], int | None],
) -> int | None:
    """Returns how many runs a device computes together.

    Args:
      folders: directory of each run, or None.
      batched: see `check_mode`.
      devices: number of devices that divide a batch.
      automatic: decides for "auto" where no run has begun.

    Returns:
      The number; `ONE_BY_ONE`; or None for as many as the memory holds.

    Raises:
      ValueError: runs began in batches of another size, or at other positions.
    """
    count = len(folders)
    places = {
        index: place_of(folder)
        for index, folder in enumerate(folders)
        if folder and (folder / "environment.json").exists()
    }
    began = {
        place.members if place.batched else ONE_BY_ONE for place in places.values()
    }
    if batched == "auto":
        width = min(began) if began else automatic()
    else:
        asked = {"on": count, "off": 1}.get(batched, batched)
        most = min(asked, count)
        width = ONE_BY_ONE if most == 1 else even_width(count, most, devices)
        if asked > 1 and began == {
            -(-asked // devices)
        }:  # though batches were not full
            (width,) = began
    if began and began != {width}:
        raise _other_width(folders[0].parent, began, width, devices)
    for index, place in places.items():
        if width and place.position != index % width:
            raise ValueError(
                f"{folders[index]} began at another position of its batch, which may "
                f"round differently. Go on with the runs that it began with, in their "
                f"order."
            )
    return width


def _other_width(
    folder: pathlib.Path, began: set[int], width: int | None, devices: int
) -> ValueError:
    sizes = " and ".join(map(_described, sorted(began)))
    advice = "Go on with those that began alike by a command of their own"
    if len(began) == 1:
        (first,) = began
        option = "off" if first == ONE_BY_ONE else first * devices
        advice = f"Go on as they began: --batched {option}"
    return ValueError(
        f"The runs in {folder} began {sizes}, and would go on {_described(width)} now, "
        f"which rounds differently. {advice}."
    )


def _described(width: int | None) -> str:
    """A width in words."""
    if width is None:
        return "in batches as large as the memory holds"
    return f"in batches of {width} a device" if width else "one after another"


def chosen_shape(
    count: int,
    width: int | None,
    devices: int,
    compiled: Callable[[BatchShape], NamedTuple],
) -> BatchShape:
    """Returns the shape of the batches of several runs.

    Args:
      count: number of runs.
      width: runs that a device computes together; None: as many as its memory holds.
      devices, compiled: see `fitting_shape`.

    Raises:
      OutOfMemoryError: even one run on a device does not fit.
    """
    if width is None:
        return fitting_shape(count, devices, compiled)
    return shape_of(count, width, devices)


def fitting_shape(
    count: int, devices: int, compiled: Callable[[BatchShape], NamedTuple]
) -> BatchShape:
    """Returns the shape of the largest batches that the memory of the devices holds.

    The compiler says what the programs reserve. Batches are halved until that fits.

    Args:
      count: number of runs.
      devices: number of devices that divide a batch.
      compiled: shape of a batch -> its compiled programs.

    Raises:
      OutOfMemoryError: even one run on a device does not fit.
    """
    free, width = free_bytes(), -(-count // devices)
    while True:
        shape = shape_of(count, width, devices)
        try:
            programs = compiled(shape)
            if width == 1 or free is None or reserved(programs) <= SHARE * free:
                return shape
        except OutOfMemoryError:
            if width == 1:
                raise
        width = even_width(count, -(-width // 2) * devices, devices)


def reserved(programs: NamedTuple) -> int:
    """Returns the bytes that the largest program of a batch reserves for a call."""
    compiled = [each for each in programs if isinstance(each, functools.partial)]
    return max(_bytes_of(program.func.memory_analysis()) for program in compiled)


def _bytes_of(analysis) -> int:
    """Arguments, results and temporary arrays of a program, shared ones once."""
    parts = (
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
        analysis.temp_size_in_bytes,
    )
    return sum(parts) - analysis.alias_size_in_bytes
