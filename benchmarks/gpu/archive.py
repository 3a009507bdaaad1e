"""Packs the folder of a campaign into files, and unpacks it on the next machine.

A rented machine may keep nothing and hand back only a few small files. So the folder
becomes one tar archive in parts. Of each run the newest checkpoint is kept, which is
enough to go on; compiled programs are left out, and the oldest checkpoints where the
archive would be too large: those runs start over. The results are also copied beside
the parts, since one lost part makes an archive useless.
"""

import hashlib
import io
import json
import pathlib
import tarfile

from benchmarks.gpu.memory import FILE
from benchmarks.replaced import replaced
from egnas_jax.storage import records

PART_BYTES = 15 * 2**20
# Three parts travel in one call together with this checkout, which has 14 MiB.
LIMIT_BYTES = 3 * PART_BYTES
# What a tar archive adds to a file, at most: its name, which may be long, its time, and
# padding.
FILE_BYTES = 5 * tarfile.BLOCKSIZE
LEFT_OUT = "cache"  # folder of compiled programs
CHECKPOINTS = "checkpoints"
REPORT = "report.md"
RESULTS = FILE, REPORT


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
    return _within_limit(folder, kept)


def _within_limit(
    folder: pathlib.Path, files: list[pathlib.Path]
) -> list[pathlib.Path]:
    """The files without the oldest checkpoints, as far as they exceed the limit."""
    facts = {path: (folder / path).stat() for path in files}
    sizes = {path: fact.st_size + FILE_BYTES for path, fact in facts.items()}
    limit = LIMIT_BYTES - tarfile.RECORDSIZE  # its end is padded, too
    ages: dict[pathlib.Path, float] = {}
    for path, fact in facts.items():
        if step := _checkpoint_of(path):
            ages[step] = max(ages.get(step, 0.0), fact.st_mtime)
    for step in sorted(ages, key=ages.get):
        if sum(sizes.values()) <= limit:
            break
        sizes = {path: size for path, size in sizes.items() if step not in path.parents}
    return list(sizes)


def _checkpoint_of(path: pathlib.Path) -> pathlib.Path | None:
    """The folder of the checkpoint that a file belongs to, or None."""
    steps = (parent for parent in path.parents if parent.parent.name == CHECKPOINTS)
    return next(steps, None)


def copy_results(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Copies the results and the report of a campaign to another folder."""
    target.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:
        if (folder / name).exists():
            records.write_bytes(target / name, (folder / name).read_bytes())


def part(stem: pathlib.Path, number: int) -> pathlib.Path:
    """Path of a part of an archive."""
    return stem.with_name(f"{stem.name}.{number:02d}")


def write(folder: pathlib.Path, stem: pathlib.Path) -> int:
    """Writes the archive of a folder; returns the number of its parts.

    Each part begins with a line that says which part it is, of how many, and the
    digest of them all.

    Args:
      folder: of the campaign.
      stem: path of the archive, without the number of a part.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in files_of(folder):
            tar.add(folder / path, arcname=str(path))
    data = content.getvalue()
    pieces = [data[i : i + PART_BYTES] for i in range(0, len(data), PART_BYTES)]
    facts = {"of": len(pieces), "sha256": hashlib.sha256(data).hexdigest()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        first = json.dumps({"part": number, **facts}) + "\n"
        records.write_bytes(_new(stem, number), first.encode() + piece)
    # all are renamed at the end, so that a kill rarely leaves parts of two archives
    for number in range(len(pieces)):
        _new(stem, number).replace(part(stem, number))
    number = len(pieces)
    while part(stem, number).exists():  # of a longer archive
        part(stem, number).unlink()
        number += 1
    return len(pieces)


def _new(stem: pathlib.Path, number: int) -> pathlib.Path:
    return part(stem.with_name(f".{stem.name}.new"), number)


def read(stem: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks an archive into a folder, which it replaces: all files or none.

    Raises:
      ValueError: a part is missing, or the archive is damaged.
      OSError: a part cannot be read, or the folder cannot be written.
    """
    if not part(stem, 0).exists():
        raise ValueError(f"There is no {part(stem, 0)}. Leave --resume-from out.")
    number, count, pieces = 0, 1, []
    while number < count:
        facts, piece = _read_part(part(stem, number))
        count, digest = facts["of"], facts["sha256"]
        pieces.append(piece)
        number += 1
    data = b"".join(pieces)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(
            f"{stem}: the parts have another digest than {part(stem, count - 1)} "
            f"names. They are damaged or of different archives: copy all {count} parts "
            f"again."
        )
    with replaced(folder) as new, tarfile.open(fileobj=io.BytesIO(data)) as tar:
        # Python 3.11.0 to 3.11.3 have no filter
        filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(new, **filtered)


def _read_part(path: pathlib.Path) -> tuple[dict, bytes]:
    """The facts of the first line of a part, and its bytes of the archive."""
    if not path.exists():
        raise ValueError(f"There is no {path}. Copy all parts of the archive.")
    first, _, piece = path.read_bytes().partition(b"\n")
    try:
        facts = json.loads(first)
        return {"of": int(facts["of"]), "sha256": str(facts["sha256"])}, piece
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no part of an archive. Copy it again.") from error
