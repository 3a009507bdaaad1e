"""Makes images for the benchmarks: synthetic ones, or a data set split into files.

python -m benchmarks.images --preset cifar10 --data-dir DIR --out FOLDER --size 10000

This command writes the training images of a data set as files of --size images each,
in a fixed random order, so that some of them can be copied to a machine without a
network.
"""

import argparse
import pathlib

import numpy as np

SEED = 0
CLASSES = 10


def synthetic(count: int, side: int, classes: int = CLASSES):
    """Synthetic images u8[N, H, W, 3], a pattern of their class and noise; labels.

    A network can learn to classify them.
    """
    rng = np.random.RandomState(SEED)  # draws the same under every version of numpy
    labels = rng.randint(0, classes, count)
    patterns = rng.randint(64, 192, (classes, side, side, 3))
    noise = rng.randint(-64, 64, (count, side, side, 3))
    return (patterns[labels] + noise).astype(np.uint8), labels.astype(np.int32)


def from_pieces(paths: list[pathlib.Path], count: int):
    """Reads images of several files as two halves without a common image.

    Each half repeats its images where the files hold too few.

    Args:
      paths: .npz files with `images` u8[N, H, W, C] and `labels` [N].
      count: number of images to return, even.

    Returns:
      Images, labels i32, and the number of different images among them.

    Raises:
      ValueError: fewer than two images.
    """
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append((file["images"], file["labels"]))
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    half = min(count, len(labels)) // 2
    if not half:
        raise ValueError(
            f"--images holds {len(labels)} images, but must hold at least two."
        )
    first = np.arange(count // 2) % half
    chosen = np.concatenate([first, half + first])
    return images[chosen], labels[chosen].astype(np.int32), 2 * half


def write_pieces(images, labels, folder: pathlib.Path, size: int) -> list[pathlib.Path]:
    """Writes files of `size` images each, in a random order."""
    folder.mkdir(parents=True, exist_ok=True)
    order, paths = np.random.RandomState(SEED).permutation(len(labels)), []
    for start in range(0, len(labels), size):
        part = order[start : start + size]
        paths.append(folder / f"piece_{start // size:02d}.npz")
        np.savez_compressed(paths[-1], images=images[part], labels=labels[part])
    return paths


def main() -> None:
    from egnas_jax.data.source import load_dataset
    from egnas_jax.runs.search_config import search_config

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cifar10")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=int, default=10_000, help="images per file")
    options = parser.parse_args()
    data = load_dataset(search_config(options.preset).data, options.data_dir, SEED)
    for path in write_pieces(data.images, data.labels, options.out, options.size):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
