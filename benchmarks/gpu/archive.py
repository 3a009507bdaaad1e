"""Packs the folder of a campaign into files, and unpacks it on the next machine.

A rented machine may keep nothing and hand back only a few small files. So the folder
becomes one tar archive in parts. Of each run the newest checkpoint is kept, which is
enough to go on; compiled programs are left out.
"""

import io
import pathlib
import tarfile

from egnas_jax.storage import records

PART_BYTES = 15 * 2**20
LEFT_OUT = "cache"  # folder of compiled programs
CHECKPOINTS = "checkpoints"


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files to keep, relative to the folder, in order."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    newest = {
        checkpoints: max(
            (entry for entry in checkpoints.iterdir() if entry.name.isdigit()),
            key=lambda entry: int(entry.name),
            default=None,
        )
        for checkpoints in folder.rglob(CHECKPOINTS)
    }
    kept = []
    for path in found:
        steps = [parent for parent in path.parents if parent.parent in newest]
        if any(newest[step.parent] not in (step, None) for step in steps):
            continue
        relative = path.relative_to(folder)
        if relative.parts[0] != LEFT_OUT:
            kept.append(relative)
    return kept


def part(stem: pathlib.Path, number: int) -> pathlib.Path:
    """Path of a part of an archive."""
    return stem.with_name(f"{stem.name}.{number:02d}")


def write(folder: pathlib.Path, stem: pathlib.Path) -> int:
    """Writes the archive of a folder; returns the number of its parts.

    Args:
      folder: of the campaign.
      stem: path of the archive, without the number of a part.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in files_of(folder):
            tar.add(folder / path, arcname=str(path))
    data = content.getvalue()
    starts = range(0, len(data), PART_BYTES)
    stem.parent.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(starts):
        records.write_bytes(part(stem, number), data[start : start + PART_BYTES])
    number = len(starts)
    while part(stem, number).exists():  # of a longer archive
        part(stem, number).unlink()
        number += 1
    return len(starts)


def read(stem: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks an archive.

    Raises:
      ValueError: there is no archive, or it is damaged.
    """
    data, number = b"", 0
    while part(stem, number).exists():
        data += part(stem, number).read_bytes()
        number += 1
    if not number:
        raise ValueError(f"There is no {part(stem, 0)}. Leave --resume-from out.")
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{stem}: {error}. Are all of its parts there?") from error
