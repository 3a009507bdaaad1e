"""Pixels in: digits, the official CIFAR files, or the user's own .npz. Host arrays.

Looked at in this order: `data.path`; `--data-dir`, then the only place; scikit-learn's
digits. Nothing is downloaded here.
"""

import io
import pathlib
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# Channel means and deviations of CIFAR-10's training images in [0, 1]; the DARTS
# family uses them for CIFAR-100 too.
CIFAR_MEAN = (0.49139968, 0.48215827, 0.44653124)
CIFAR_STD = (0.24703233, 0.24348505, 0.26158768)
SIDE, PIXELS = 32, 3 * 32 * 32


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are augmented.

    Attributes:
      name: "digits", "cifar10" or "cifar100".
      path: a user's .npz (images u8 [N, H, W, C], labels); when set it is the data.
      pad: largest shift of a training image, in pixels.
      flip: whether training images are mirrored at random.
      cutout: side of the square set to zero, in pixels; 0 for none.

    Raises:
      ValueError: an unknown name or a negative number.
    """

    name: str = "digits"
    path: str | None = None
    pad: int = 1
    flip: bool = False
    cutout: int = 0

    def __post_init__(self):
        if self.name not in ("digits", *OFFICIAL):
            raise ValueError(
                f"data.name is {self.name!r}, but must be digits, cifar10 or cifar100; "
                f"for images of your own set data.path to an .npz."
            )
        for name in ("pad", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name} is {getattr(self, name)}, but must be 0 "
                                 f"or more pixels.")  # fmt: skip


class Dataset(NamedTuple):
    """Images and labels on the host.

    Attributes:
      name: for messages and file names.
      images: training pool, u8 [N, H, W, C]; labels: i32 [N].
      test_images, test_labels: the official test set, or None where there is none.
      num_classes: classes.
      mean, std: per channel, of images in [0, 1].
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray | None
    test_labels: np.ndarray | None
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_dataset(config: DataConfig, data_dir: str | None = None) -> Dataset:
    """The data set of a configuration.

    Raises:
      ValueError: it cannot be had, with what was looked for and the ways out.
    """
    if config.path is not None:
        return _from_npz(pathlib.Path(config.path))
    if config.name == "digits":
        return _digits()
    if data_dir is None:
        raise ValueError(
            f"{config.name} needs files: nothing is downloaded. Give --data-dir a "
            f"folder with one of {', '.join(_wanted(config.name))}, or set data.path "
            f"to an .npz of your own."
        )
    return _from_official(config.name, pathlib.Path(data_dir))


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # pixels are 0..16 there
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    return _described("digits", images, bunch.target.astype(np.int32), None, None)


def _described(name, images, labels, test_images, test_labels) -> Dataset:
    scaled = images.reshape(-1, images.shape[-1]) / 255.0
    mean, std = scaled.mean(axis=0), np.maximum(scaled.std(axis=0), 1e-3)
    classes = int(labels.max()) + 1
    return Dataset(
        name, images, labels, test_images, test_labels, classes,
        tuple(mean.tolist()), tuple(std.tolist()),
    )  # fmt: skip


def _from_npz(path: pathlib.Path) -> Dataset:
    """A user's file; optional test_images and test_labels are the test set."""
    if not path.is_file():
        raise ValueError(f"data.path {str(path)!r} is no file. Give an .npz.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as an .npz of plain arrays ({error}). Write "
            f"it with numpy.savez(path, images=..., labels=...)."
        ) from None
    images, labels = _checked(arrays, "images", "labels", path)
    test = (None, None)
    if "test_images" in arrays:
        test = _checked(arrays, "test_images", "test_labels", path)
    if labels.max() < 1:
        raise ValueError(f"{str(path)!r} holds one class; a search needs at least 2.")
    return _described(path.stem, images, labels, *test)


def _checked(arrays, images_name, labels_name, path):
    for name in (images_name, labels_name):
        if name not in arrays:
            raise ValueError(
                f"{str(path)!r} has no array {name!r}; it holds {sorted(arrays)}. "
                f"It must hold images u8 [N, H, W, C] and labels [N]."
            )
    images, labels = arrays[images_name], arrays[labels_name]
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(
            f"{images_name} in {str(path)!r} are {images.dtype} {images.shape}, but "
            f"must be uint8 [N, H, W, C] with N > 0. Convert them with "
            f"(images * 255).astype('uint8') and add a channel axis if needed."
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_name} in {str(path)!r} have shape {labels.shape}, but there are "
            f"{len(images)} images: one label an image."
        )
    if labels.dtype.kind not in "iuf" or not np.all(np.mod(labels, 1) == 0):
        raise ValueError(f"{labels_name} in {str(path)!r} must be whole numbers from "
                         f"0; found {labels.ravel()[:3].tolist()}.")  # fmt: skip
    if labels.min() < 0:
        raise ValueError(f"{labels_name} in {str(path)!r} hold {labels.min()}, but "
                         f"must be 0 or more.")  # fmt: skip
    return images, labels.astype(np.int32)


class _Official(NamedTuple):
    """How one official data set is kept in files."""

    classes: int
    folders: dict[str, str]  # format -> folder name
    binary: tuple[tuple[str, ...], tuple[str, ...]]
    python: tuple[tuple[str, ...], tuple[str, ...]]
    labels: int  # bytes of labels before each image; the last is the class
    key: bytes
    train: int
    test: int


OFFICIAL = {
    "cifar10": _Official(
        10,
        {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"},
        (tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)),
        (tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)),
        1,
        b"labels",
        50_000,
        10_000,
    ),
    "cifar100": _Official(
        100,
        {"binary": "cifar-100-binary", "python": "cifar-100-python"},
        (("train.bin",), ("test.bin",)),
        (("train",), ("test",)),
        2,
        b"fine_labels",
        50_000,
        10_000,
    ),
}
_ARCHIVES = {
    "cifar10": {"binary": "cifar-10-binary.tar.gz", "python": "cifar-10-python.tar.gz"},
    "cifar100": {
        "binary": "cifar-100-binary.tar.gz",
        "python": "cifar-100-python.tar.gz",
    },
}


def _wanted(name: str) -> list[str]:
    return [*OFFICIAL[name].folders.values(), *_ARCHIVES[name].values()]


def _from_official(name: str, root: pathlib.Path) -> Dataset:
    if not root.is_dir():
        raise ValueError(f"--data-dir {str(root)!r} is no folder. Create it or name "
                         f"the one that holds {name}.")  # fmt: skip
    kind, read = _find(name, root)
    official = OFFICIAL[name]
    parse = _parse_binary if kind == "binary" else _parse_python
    parts = []
    for files, count in zip(
        getattr(official, kind), (official.train, official.test), strict=True
    ):
        pairs = [parse(official, read(file), file) for file in files]
        images = np.concatenate([images for images, _ in pairs])
        labels = np.concatenate([labels for _, labels in pairs])
        if len(images) != count:
            raise ValueError(
                f"{', '.join(files)} in {str(root)!r} hold {len(images)} images, but "
                f"{name} has {count} there. The files are incomplete: fetch them again."
            )
        parts += [images, labels]
    return Dataset(name, *parts, official.classes, CIFAR_MEAN, CIFAR_STD)


def _find(name, root) -> tuple[str, Callable[[str], bytes]]:
    """The first known form in a folder: its kind, and a reader of its files."""
    for kind, folder in OFFICIAL[name].folders.items():
        for place in (root / folder, root):
            if place.name == folder and place.is_dir():
                return kind, lambda file, place=place: _read_file(place / file)
    for kind, archive in _ARCHIVES[name].items():
        if (root / archive).is_file():
            folder = OFFICIAL[name].folders[kind]
            return kind, _archive_reader(root / archive, folder)
    found = sorted(entry.name for entry in root.iterdir())[:8]
    raise ValueError(
        f"--data-dir {str(root)!r} holds no {name}: looked for "
        f"{', '.join(_wanted(name))}; found {', '.join(found) or 'nothing'}."
    )


def _read_file(path: pathlib.Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is missing. Fetch the data set again.")
    return path.read_bytes()


def _archive_reader(path, folder):
    def read(file):
        try:
            with tarfile.open(path) as archive:
                member = archive.extractfile(f"{folder}/{file}")
                return member.read()
        except (tarfile.TarError, KeyError, OSError, EOFError) as error:
            raise ValueError(
                f"{folder}/{file} cannot be read from {str(path)!r} ({error}). The "
                f"archive is damaged or another one: fetch it again."
            ) from None

    return read


def _parse_binary(official, content: bytes, file: str):
    """Rows of label bytes and 3072 pixels: the red, the green, the blue plane."""
    row = official.labels + PIXELS
    if not content or len(content) % row:
        raise ValueError(
            f"{file} has {len(content)} bytes, no multiple of the {row} of an image. "
            f"It is short or another file: fetch the data set again."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels = rows[:, official.labels - 1].astype(np.int32)
    return _checked_rows(official, rows[:, official.labels :], labels, file)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and plain containers, and nothing that runs code."""

    _ALLOWED = {"_reconstruct", "ndarray", "dtype", "encode", "scalar"}

    def find_class(self, module, name):
        known = module.split(".")[0] in ("numpy", "_codecs")
        if known and name in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _parse_python(official, content: bytes, file: str):
    try:
        table = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        rows, labels = table[b"data"], np.asarray(table[official.key], np.int32)
    except Exception as error:  # a foreign pickle fails in any way it likes
        raise ValueError(
            f"{file} is no official python batch ({error}). Fetch the data set again."
        ) from None
    return _checked_rows(official, np.asarray(rows, np.uint8), labels, file)


def _checked_rows(official, rows, labels, file):
    if labels.max() >= official.classes:
        raise ValueError(
            f"{file} holds the label {labels.max()}, but there are {official.classes} "
            f"classes. It is another data set's file."
        )
    images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels
