"""Packs CIFAR-10 without loss into a few small files, and unpacks them elsewhere.

python -m benchmarks.packed_images pack --data-dir DIR --out FOLDER [--pieces 3]
python -m benchmarks.packed_images unpack PIECE... --out DIR

Three pieces take 33 MiB each, so that one fits beside a checkout and compiled programs
where little can be copied at a time.
Pieces may arrive one by one: each is checked and kept in DIR, and the last one writes
the official binary files there, which `--data-dir DIR` reads.

Every value is predicted from its neighbours by the median edge detector of LOCO-I; the
errors of red and blue are stored as differences from green's, and coded by Huffman.
Source: Weinberger, Seroussi and Sapiro, "The LOCO-I lossless image compression
algorithm", 2000.

Dims: N images, H x W pixels, C channels in the order red, green, blue.
"""

import argparse
import hashlib
import pathlib
import sys
import zlib
from typing import NamedTuple

import numpy as np

from benchmarks.replaced import replaced
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files.layouts import LAYOUTS, Layout
from egnas_jax.data.source import load_dataset
from egnas_jax.storage import records

KEPT = "pieces"  # folder of pieces while others are missing
INCOMPLETE = 3  # exit code: other pieces are still missing
PIECES = 3  # unless the command line says otherwise


class Piece(NamedTuple):
    """Some of the images of a data set.

    Attributes:
      images, labels: u8[N, H, W, C] and u8[N].
      first: position of the first image in the whole data set.
      total: images of the whole data set.
      whole: digest of the whole data set; "" where its pieces do not say.
    """

    images: np.ndarray
    labels: np.ndarray
    first: int
    total: int
    whole: str = ""


def expected(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Predicts values u8[...] from the neighbours to the left, above and between."""
    low, high = np.minimum(left, up), np.maximum(left, up)
    plane = left + up - corner  # within low..high in the only case that reads it
    return np.where(corner >= high, low, np.where(corner <= low, high, plane))


def encode(images: np.ndarray) -> bytes:
    """Compresses images u8[N, H, W, C = 3]."""
    framed = np.zeros(np.add(images.shape, (0, 1, 1, 0)), np.uint8)
    framed[:, 1:, 1:] = images
    errors = images - expected(
        framed[:, 1:, :-1], framed[:, :-1, 1:], framed[:, :-1, :-1]
    )
    errors[..., ::2] -= errors[..., 1:2]
    coder = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
    # one channel after another, since their errors are distributed differently
    return coder.compress(errors.transpose(3, 0, 1, 2).tobytes()) + coder.flush()


def decode(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Restores the images of a shape (N, H, W, C) that `encode` compressed."""
    count, height, width, channels = shape
    stored = np.frombuffer(zlib.decompress(packed), np.uint8)
    errors = stored.reshape(channels, count, height, width).transpose(2, 3, 1, 0).copy()
    errors[..., ::2] += errors[..., 1:2]
    framed = np.zeros((height + 1, width + 1, count, channels), np.uint8)
    for i in range(height):
        for j in range(width):
            guess = expected(framed[i + 1, j], framed[i, j + 1], framed[i, j])
            framed[i + 1, j + 1] = guess + errors[i, j]
    return framed[1:, 1:].transpose(2, 0, 1, 3).copy()


def digest(piece: Piece | LabelledImages) -> str:
    """Sha256 over the pixels and labels of a piece or a data set."""
    labels = piece.labels.astype(np.uint8)
    return hashlib.sha256(piece.images.tobytes() + labels.tobytes()).hexdigest()


def cut(images: np.ndarray, labels: np.ndarray, pieces: int) -> list[Piece]:
    """Cuts a data set into pieces of almost equal size."""
    bounds = np.linspace(0, len(labels), pieces + 1).astype(int)
    whole = digest(LabelledImages(images, labels))
    labels = labels.astype(np.uint8)
    return [
        Piece(images[a:b], labels[a:b], int(a), len(labels), whole)
        for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def write_piece(path: pathlib.Path, piece: Piece) -> None:
    """Writes one piece with its digest."""
    np.savez(
        path,
        packed=np.frombuffer(encode(piece.images), np.uint8),
        shape=piece.images.shape,
        labels=piece.labels,
        place=(piece.first, piece.total),
        whole=piece.whole,
        sha256=digest(piece),
    )


def read_piece(path: pathlib.Path) -> Piece:
    """Reads one piece.

    Raises:
      ValueError: the file is no piece, or its images are not those that were packed.
    """
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            shape = tuple(file["shape"].tolist())
            images = decode(file["packed"].tobytes(), shape)
            whole = str(file["whole"]) if "whole" in file else ""
            piece = Piece(images, file["labels"], *file["place"].tolist(), whole)
            wanted = str(file["sha256"])
    except Exception as error:  # numpy, zipfile and zlib raise many kinds
        raise ValueError(f"{path} is not a whole piece: {error}. Copy it again.") from (
            error
        )
    if digest(piece) != wanted:
        raise ValueError(
            f"{path}: the images have the digest {digest(piece)[:12]} and those that "
            f"were packed had {wanted[:12]}. Copy it again."
        )
    return piece


def is_complete(pieces: list[Piece]) -> bool:
    """Whether pieces, in the order of `first`, hold every image once."""
    end = 0
    for piece in pieces:
        if piece.first != end:
            return False
        end += len(piece.labels)
    return bool(pieces) and end == pieces[0].total


def write_official(data: LabelledImages, folder: pathlib.Path, layout: Layout) -> None:
    """Writes the binary files of a layout: training images first, then test images.

    The folder of the layout appears when all are written.
    """
    planes = data.images.transpose(0, 3, 1, 2).reshape(len(data.labels), -1)
    stored = np.concatenate([data.labels[:, None], planes], axis=1)
    start = 0
    with replaced(folder / layout.folder) as new:
        for name, count in counts(layout).items():
            records.write_bytes(new / name, stored[start : start + count].tobytes())
            start += count


def counts(layout: Layout) -> dict[str, int]:
    """File of a layout -> number of its images, in order."""
    train = dict.fromkeys(layout.train, layout.train_records)
    return train | dict.fromkeys(layout.test, layout.test_records)


def is_unpacked(folder: pathlib.Path, layout: Layout) -> bool:
    """Whether all files of a layout of 32 x 32 pixels are there in full length."""
    record = len(layout.label_keys) + 3 * 32 * 32  # bytes of labels and pixels
    paths = {folder / layout.folder / name: n for name, n in counts(layout).items()}
    return all(
        path.is_file() and path.stat().st_size == count * record
        for path, count in paths.items()
    )


def check_one_set(pieces: list[Piece], layout: Layout) -> None:
    """Refuses pieces that are not all of one data set, or not of this layout.

    Raises:
      ValueError: they are not.
    """
    sets = {(piece.total, piece.whole) for piece in pieces}
    if len(sets) > 1:
        texts = sorted(f"{total} images ({whole[:12]})" for total, whole in sets)
        raise ValueError(
            f"The pieces are of different data sets: {', '.join(texts)}. Name pieces "
            f"of one call of `pack`, and remove kept ones of another."
        )
    wanted = sum(counts(layout).values())
    if pieces[0].total != wanted:
        raise ValueError(
            f"The pieces are of a data set of {pieces[0].total} images, and "
            f"{layout.folder} has {wanted}. Name pieces of that one."
        )


def unpack(paths: list[pathlib.Path], folder: pathlib.Path, layout: Layout) -> bool:
    """Checks and keeps pieces; writes the official files once all are there.

    Args:
      paths: of the new pieces.
      folder: where earlier pieces are kept and the official files are written.
      layout: of the official files.

    Returns:
      Whether the data set is complete.

    Raises:
      ValueError: a file is damaged, or pieces are of different data sets.
    """
    new = {piece.first: piece for piece in map(read_piece, paths)}
    kept = {int(path.stem): path for path in (folder / KEPT).glob("*.npz")}
    earlier = {first: read_piece(kept[first]) for first in kept.keys() - new.keys()}
    pieces = [piece for _, piece in sorted({**earlier, **new}.items())]
    check_one_set(pieces, layout)
    if not is_complete(pieces):
        (folder / KEPT).mkdir(parents=True, exist_ok=True)
        for first, piece in new.items():
            write_piece(folder / KEPT / f"{first}.npz", piece)
        return False
    images, labels = (
        np.concatenate(parts)
        for parts in zip(*((p.images, p.labels) for p in pieces), strict=True)
    )
    write_official(LabelledImages(images, labels), folder, layout)
    return True


def pack(data_dir: str | None, folder: pathlib.Path, pieces: int) -> None:
    """Packs training and test images of CIFAR-10, in the order of the files."""
    data = load_dataset(DataConfig(name="cifar10"), data_dir)
    images = np.concatenate([data.images, data.test_images])
    labels = np.concatenate([data.labels, data.test_labels])
    folder.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(cut(images, labels, pieces)):
        path = folder / f"cifar10_{number}.npz"
        write_piece(path, piece)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.packed_images", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing, unpacking = (commands.add_parser(name) for name in ("pack", "unpack"))
    packing.add_argument("--data-dir", help="of CIFAR-10, as in `egnas search`")
    packing.add_argument("--pieces", type=int, default=PIECES, metavar="N")
    unpacking.add_argument("files", type=pathlib.Path, nargs="+", metavar="PIECE")
    for command in (packing, unpacking):
        command.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        if options.command == "pack":
            pack(options.data_dir, options.out, options.pieces)
        elif not unpack(options.files, options.out, LAYOUTS["cifar10"][0]):
            print(f"{options.out} still lacks pieces: unpack the others there, too.")
            return INCOMPLETE
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
