"""Lists the images of train/CLASS/ and val/CLASS/, and what lies beside them."""

import collections
import os
import pathlib
from typing import NamedTuple

# What Pillow reads and people keep photographs in. Files are opened by their content.
SUFFIXES = (
    *(".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif"),
)
# Folders that macOS archives, network disks and file systems add.
FOREIGN_FOLDERS = (
    *("__MACOSX", "@eaDir", "#recycle", "lost+found"),
    *("$RECYCLE.BIN", "System Volume Information"),
)
FOLDER_FORM = (
    "It must hold train/CLASS/*.JPEG and val/CLASS/*.JPEG (or validation/), with the "
    "same classes in both"
)

FilesByClass = dict[str, list[pathlib.Path]]


class ImageFiles(NamedTuple):
    """The files of a directory of photographs.

    Attributes:
      by_split: "train" and "validation" -> class -> paths in alphabetical order.
      left_out: kind of a file that is not read, as ".txt" -> how many there are.
    """

    by_split: dict[str, FilesByClass]
    left_out: collections.Counter


def list_images(data_dir: pathlib.Path) -> ImageFiles:
    """Lists the image files of both splits by class.

    Hidden files and folders, whose names begin with a dot, are neither images nor
    classes.

    Args:
      data_dir: holds train/, and val/ or validation/.

    Raises:
      ValueError: a folder or its images are missing, there are two folders for
        validation, the classes of the two splits differ, or the name of a class cannot
        be stored.
    """
    folders = _split_folders(data_dir)
    left_out = collections.Counter()
    by_split = {split: _by_class(folder, left_out) for split, folder in folders.items()}
    _check_classes(by_split, data_dir)
    return ImageFiles(by_split, left_out)


def _split_folders(data_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    """The folders of the splits."""
    valid = [
        path for name in ("val", "validation") if (path := data_dir / name).is_dir()
    ]
    if len(valid) == 2 and valid[0].samefile(valid[1]):
        valid = valid[:1]
    if len(valid) == 1 and (data_dir / "train").is_dir():
        return {"train": data_dir / "train", "validation": valid[0]}
    if len(valid) == 2:
        raise ValueError(
            f"{data_dir} holds both val/ and validation/, and one of them is read. "
            f"Join them, or rename the one that is not meant."
        )
    missing = "val/ or validation/" if not valid else "train/"
    inside = _visible(data_dir) if data_dir.is_dir() else []
    folder_names = (
        ", ".join(path.name for path in inside if path.is_dir()) or "no folder"
    )
    raise ValueError(
        f"{data_dir} holds no folder {missing} (found: {folder_names}). {FOLDER_FORM}."
    )


def _check_classes(by_split, data_dir) -> None:
    """Refuses classes that only one of the splits has."""
    unmatched = sorted(set(by_split["train"]) ^ set(by_split["validation"]))
    if unmatched:
        raise ValueError(
            f"{data_dir}: the class {unmatched[0]} has images in one of train and val "
            f"alone. {FOLDER_FORM}."
        )


def _by_class(folder: pathlib.Path, left_out: collections.Counter) -> FilesByClass:
    """Image files of a split by class; counts the other files in `left_out`."""
    children = _visible(folder)
    left_out.update(_kind(path) for path in children if not path.is_dir())
    files = {}
    for child in filter(pathlib.Path.is_dir, children):
        others = collections.Counter()
        _check_class_name(child)
        files[child.name] = _images(child, others)
        if not files[child.name]:
            instead = f" (but {count_kinds(others)})" if others else ""
            raise ValueError(f"{child} holds no image{instead}. {FOLDER_FORM}.")
        left_out.update(others)
    if len(files) < 2:
        raise ValueError(f"{folder} holds fewer than 2 class folders. {FOLDER_FORM}.")
    return files


def _check_class_name(folder: pathlib.Path) -> None:
    """Refuses names that a list of classes, one a line, does not give back."""
    name, problem = folder.name, None
    if not is_utf8(folder):
        problem = "is not UTF-8"
    elif name.splitlines() != [name.strip()]:
        problem = "holds a line break, or begins or ends with a space"
    if problem:
        raise ValueError(
            f"The name of the class folder {printable(folder)!r} {problem}, so it "
            f"cannot be stored. Rename the folder in both splits."
        )


def is_utf8(path: pathlib.Path) -> bool:
    """Whether the name of a file or a folder is text."""
    return not any("\udc80" <= character <= "\udcff" for character in path.name)


def printable(path: pathlib.Path) -> str:
    """A path as text; bytes that are not UTF-8 are written as "\\xe9"."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _images(folder: pathlib.Path, others: collections.Counter) -> list[pathlib.Path]:
    """Image files of a class; counts the other files in `others`."""
    images = []
    for path in _visible(folder):
        if path.suffix.lower() in SUFFIXES and not path.is_dir():
            images.append(path)
        else:
            others[_kind(path)] += 1
    return images


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Files and folders in alphabetical order, without hidden ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in FOREIGN_FOLDERS
    )


def _kind(path: pathlib.Path) -> str:
    if path.is_dir():
        return "inner folder"
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:  # of a file that lies in no class folder
        return f"{suffix} outside a class"
    return suffix or "without a suffix"


def count_kinds(kinds: collections.Counter) -> str:
    """The counts in words, as "3 .txt, 1 .xml"."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
