"""Opens every image of a data set before it is prepared, and says what was found."""

import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from egnas_jax.data.files.image_folders import FilesByClass, is_utf8, printable
from egnas_jax.data.photographs import (
    UPRIGHT,
    has_16_bits,
    open_image,
    orientation,
    to_8_bits,
    to_rgb,
)

# 16-bit images that stay below this grey keep fewer than 64 of 256: their numbers have
# 12 or 14 bits, and full scale is not what they mean by white.
DARK = 64
LISTED = 20  # broken files that an error names


class ImageCheck(NamedTuple):
    """What is known of one image file after it was decoded.

    Attributes:
      path: of the file.
      problem: why it cannot be read, or None.
      is_transparent: whether a pixel is not opaque.
      is_turned: whether its EXIF orientation asks for a turn.
      has_frames: whether it holds further frames or pages.
      brightest: the largest of its 256 greys or of its colours where the file has 16
        bits, else None.
    """

    path: pathlib.Path
    problem: str | None = None
    is_transparent: bool = False
    is_turned: bool = False
    has_frames: bool = False
    brightest: int | None = None


def readable(
    by_split: dict[str, FilesByClass],
    *,
    skip_broken: bool,
    log: Callable[[str], Any],
) -> dict[str, FilesByClass]:
    """The image files that can be decoded, after all of them were tried.

    Args:
      by_split: split -> class -> paths.
      skip_broken: whether to leave out and list the others.
      log: called with notes.

    Raises:
      ValueError: an image cannot be read, and `skip_broken` is not set; or no image of
        a class can be read.
    """
    checks = [
        check
        for by_class in by_split.values()
        for paths in by_class.values()  # a class at a time bounds the memory in use
        for check in check_images(paths)
    ]
    broken = {check.path: check.problem for check in checks if check.problem}
    if broken:
        _report_broken(broken, len(checks), skip_broken, log)
    for note in findings(checks):
        log(note)
    return {
        split: {name: _kept(name, split, paths, broken) for name, paths in each.items()}
        for split, each in by_split.items()
    }


def _kept(name, split, paths, broken) -> list[pathlib.Path]:
    """The files of a class that are not broken."""
    kept = [path for path in paths if path not in broken]
    if not kept:
        raise ValueError(
            f"No image of the class {name} in {split} can be read. Repair one, or "
            f"remove the folders of this class."
        )
    return kept


def _report_broken(broken, num_images, skip_broken, log) -> None:
    lines = [f"  {printable(path)}: {problem}" for path, problem in broken.items()]
    if skip_broken:
        log("\n".join([f"{len(lines)} broken image(s) are left out:", *lines]))
        return
    more = len(lines) - LISTED
    if more > 0:
        lines[LISTED:] = [f"  and {more} more"]
    raise ValueError(
        "\n".join([f"{len(broken)} of {num_images} images cannot be read:", *lines])
        + "\nNothing was written. Replace or delete these files, or leave them out by "
        "--skip-broken."
    )


def check_images(paths: Iterable[pathlib.Path]) -> list[ImageCheck]:
    """Decodes image files, on all cores, as training decodes them.

    Args:
      paths: of the files.

    Returns:
      One check per file, in the same order.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(check_image, paths))


def check_image(path: pathlib.Path) -> ImageCheck:
    """Decodes one image file as training decodes it."""
    if not is_utf8(path):
        return ImageCheck(path=path, problem="its name is not UTF-8; rename it")
    try:
        with open_image(path.read_bytes()) as image:
            to_rgb(image)
            of_8_bits = to_8_bits(image)
            return ImageCheck(
                path=path,
                is_transparent=_is_transparent(of_8_bits),
                is_turned=orientation(image) != UPRIGHT,
                brightest=_brightest(of_8_bits) if has_16_bits(image) else None,
                # the second frame of a camera's MPO file is a preview or another view
                has_frames=image.format != "MPO" and getattr(image, "n_frames", 1) > 1,
            )
    except OSError as error:
        return ImageCheck(
            path=path, problem=f"it cannot be opened: {error.strerror or error}"
        )
    except ValueError as error:
        return ImageCheck(path=path, problem=str(error))


def _is_transparent(image) -> bool:
    if not image.has_transparency_data:
        return False
    return image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def _brightest(image) -> int:
    """The largest value of a colour, without the alpha channel."""
    return max(high for _, high in image.convert("RGB").getextrema())


def findings(checks: list[ImageCheck]) -> list[str]:
    """One sentence for each way in which images are not shown as their files say.

    Args:
      checks: of all images that are prepared.
    """
    notes = []
    if transparent := sum(check.is_transparent for check in checks):
        notes.append(f"{transparent} image(s) have transparent pixels: shown on white.")
    deep = [check.brightest for check in checks if check.brightest is not None]
    if deep:
        notes.append(f"{len(deep)} image(s) have 16 bits: scaled to 8.")
    if dark := [grey for grey in deep if grey < DARK]:
        notes.append(
            f"{len(dark)} of them are dark: white is 255, and they end at "
            f"{max(dark)} or below. If their numbers have 12 or 14 bits, scale them to "
            f"16 bits first."
        )
    if turned := sum(check.is_turned for check in checks):
        notes.append(
            f"{turned} image(s) have an EXIF orientation, which is ignored: pixels "
            f"are read as stored. PIL.ImageOps.exif_transpose turns them."
        )
    if frames := sum(check.has_frames for check in checks):
        notes.append(f"{frames} image(s) have several frames: the first is read.")
    return notes
