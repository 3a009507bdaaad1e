"""Scores cells of a space by zero-cost proxies, and correlates them with a table.

Cells are scored in chunks, and a file holds what is done, so that an interrupted study
goes on where it stopped, with the same scores as one that was left alone.

Dims: n cells, P cells of a chunk, E edges, K primitives.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
from collections.abc import Callable, Mapping
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax.data.augment import normalise
from egnas_jax.data.config import DATA_SETS, DataConfig
from egnas_jax.data.source import load_dataset
from egnas_jax.lookup import lookup
from egnas_jax.nn.supernet import Supernet, SupernetConfig, make_supernet
from egnas_jax.proxies import score_cells
from egnas_jax.proxies.network import check_space
from egnas_jax.proxies.table import check_images
from egnas_jax.search.relax import unweighted
from egnas_jax.settings import LARGEST_INT, check_ranges
from egnas_jax.space import SPACES, Genotype, Topology, derive
from egnas_jax.space.derivation import check_rule
from egnas_jax.storage import records
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.nasbench201.table import (
    KIND,
    NUM_CELLS,
    SPACE,
    BenchmarkTable,
    rows_of,
)
from egnas_jax.studies.statistics import rank_correlations
from egnas_jax.training.jax_settings import pinned
from egnas_jax.types import IMPL, Batch, Key, Mixing

CHUNK = 125  # cells between two writes; all of NAS-Bench-201 has 125 such chunks
RESAMPLES = 200
SCORES = "scores.npz"
SIZE = "params"  # what a proxy has to beat
LEAST_CELLS, MOST_CELLS = 3, 100_000
RANGES = {
    "cells": (LEAST_CELLS, MOST_CELLS),
    "image_size": (4, 1024),
    "batch_size": (1, 4096),
    "seed": (0, LARGEST_INT),
}


@dataclasses.dataclass(frozen=True)
class ProxyStudy:
    """What is scored, and in which frame.

    Attributes:
      space: a key of `SPACES`.
      proxies: keys of `PROXIES`.
      cells: n. Those of NAS-Bench-201 are drawn without repetition.
      channels, layers: C and L of the supernet around the cells; NAS-Bench-201 trained
        networks of 16 and 17.
      image_size: side of the images, to which they are averaged, pixels.
      batch_size: images of the one batch.
      data: a key of `DATA_SETS`.
      seed: of cells, weights and images.

    Raises:
      ValueError: an unknown name, or a number out of its range; a space that proxies
        cannot read, or a batch of so few images that a proxy cannot tell cells apart.
    """

    space: str
    proxies: tuple[str, ...]
    cells: int
    channels: int = 4
    layers: int = 5
    image_size: int = 8
    batch_size: int = 16
    data: str = "digits"
    seed: int = 0

    def __post_init__(self):
        space = lookup(SPACES, self.space, "space")
        lookup(DATA_SETS, self.data, "data set")
        check_ranges(self, RANGES)
        for name in self.proxies:
            check_images(name, self.batch_size, "batch_size")
        check_space(self.space)
        check_rule(
            space, "Give such a space one of the rules, or call eg.proxies.score."
        )
        if space == SPACE and self.cells > NUM_CELLS:
            raise ValueError(
                f"cells is {self.cells}, but {self.space} has {NUM_CELLS} cells: give "
                f"at most so many, or all."
            )
        if self.image_size % 4:
            raise ValueError(
                f"image_size is {self.image_size}, but must be divisible by 4, as the "
                f"networks halve images twice."
            )
        self.supernet(10)  # refuses channels and layers that it cannot have

    def supernet(self, num_classes: int) -> SupernetConfig:
        """The supernet whose cells are scored."""
        return SupernetConfig(
            channels=self.channels,
            layers=self.layers,
            num_classes=num_classes,
            partial_channels=1,
            space=self.space,
        )


@pinned()
def load_batch(
    study: ProxyStudy, data_dir: str | pathlib.Path | None
) -> tuple[Batch, int]:
    """Draws the batch on which all cells are scored; also the number of classes.

    Raises:
      ValueError: the data are not found, or their sides are no multiple of the study's.
    """
    dataset = load_dataset(DataConfig(study.data, pad=0), data_dir, study.seed)
    side = dataset.images.shape[1]
    if side % study.image_size or dataset.images.shape[2] != side:
        sides = [str(n) for n in range(4, side + 1, 4) if side % n == 0]
        raise ValueError(
            f"--image-size is {study.image_size}, but images of {study.data} have "
            f"{side}x{dataset.images.shape[2]} pixels, which are averaged to a side "
            f"that divides theirs and that 4 divides: give {' or '.join(sides)}."
        )
    rng = np.random.default_rng(study.seed)
    if study.batch_size > len(dataset.images):
        raise ValueError(
            f"--batch-size is {study.batch_size}, but {study.data} has "
            f"{len(dataset.images)} training images: give at most so many."
        )
    rows = rng.choice(len(dataset.images), study.batch_size, replace=False)
    images = normalise(jnp.asarray(dataset.images[rows]), dataset.mean, dataset.std)
    labels = jnp.asarray(dataset.labels[rows], jnp.int32)
    return Batch(_averaged(images, study.image_size), labels), dataset.num_classes


def _averaged(images, side):
    """Images [N, S, S, C] as means over squares of pixels, [N, side, side, C]."""
    number, height, _, channels = images.shape
    window = height // side
    squares = images.reshape(number, side, window, side, window, channels)
    return squares.mean(axis=(2, 4))


@pinned()
def draw_cells(study: ProxyStudy) -> Mixing:
    """The cells as one-hot mixings, leaves [n, E, K] and [n, E].

    Those of NAS-Bench-201 are a permutation of all cells, cut off at n; those of other
    spaces are drawn as random search draws its children.
    """
    space = SPACES[study.space]
    if space == SPACE:
        codes = np.random.default_rng(study.seed).permutation(NUM_CELLS)
        powers = len(space.primitives) ** np.arange(space.num_edges)[::-1]
        choices = codes[: study.cells, None] // powers % len(space.primitives)
        return unweighted({KIND: jax.nn.one_hot(choices, len(space.primitives))})
    keys = _keys(study, 1, np.arange(study.cells))
    return jax.jit(jax.vmap(lambda key: random_child(key, space)))(keys)


def check_scores(study: ProxyStudy, batch: Batch, folder: pathlib.Path) -> None:
    """Refuses a folder with scores that the study cannot go on with.

    Args:
      study, batch: of the study and its data.
      folder: a folder, which need not exist.

    Raises:
      ValueError: its file is of another study, or is damaged.
    """
    read_scores(folder / SCORES, study, _fingerprint(study, batch))


@pinned()
def score_study(
    study: ProxyStudy,
    batch: Batch,
    num_classes: int,
    folder: pathlib.Path,
    *,
    on_chunk: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """Scores all cells of a study, and goes on with what its file holds.

    Args:
      study, batch, num_classes: of the study and its data.
      folder: where `SCORES` is written; it exists.
      on_chunk: called with the number of cells that are scored.

    Returns:
      name -> f32[n].

    Raises:
      ValueError: the file is of another study, or is damaged.
    """
    net, cells = make_supernet(study.supernet(num_classes)), draw_cells(study)
    fingerprint = _fingerprint(study, batch)
    done, scores = read_scores(folder / SCORES, study, fingerprint)
    while done < study.cells:
        number = min(CHUNK, study.cells - done)
        for name, values in _score_chunk(study, net, cells, batch, done).items():
            scores[name][done : done + number] = values[:number]
        done += number
        _write_scores(folder / SCORES, fingerprint, done, scores)
        on_chunk(done)
    return scores


@pinned()
def sizes(study: ProxyStudy, batch: Batch, num_classes: int) -> dict[str, np.ndarray]:
    """Counts the weights of all cells, which takes no pass and no file.

    Args:
      study, batch, num_classes: of the study and its data.
    """
    net, cells = make_supernet(study.supernet(num_classes)), draw_cells(study)
    keys = _keys(study, 0, np.arange(study.cells))
    return jax.tree.map(np.asarray, score_cells((SIZE,), net, cells, batch, keys))


def _score_chunk(
    study: ProxyStudy, net: Supernet, cells: Mixing, batch: Batch, start: int
) -> dict[str, np.ndarray]:
    """Scores of up to `CHUNK` cells; behind the last cell they repeat it."""
    size = min(CHUNK, study.cells)  # the same in all chunks: one program
    rows = np.minimum(start + np.arange(size), study.cells - 1)
    chunk = jax.tree.map(lambda leaf: leaf[rows], cells)
    keys = _keys(study, 0, rows)
    scores = score_cells(study.proxies, net, chunk, batch, keys)
    return {name: np.asarray(values) for name, values in scores.items()}


def _keys(study: ProxyStudy, purpose: int, rows: np.ndarray) -> Key:
    key = jax.random.fold_in(jax.random.key(study.seed, impl=IMPL), purpose)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.asarray(rows))


def _fingerprint(study: ProxyStudy, batch: Batch) -> str:
    """Everything that the scores depend on, as JSON."""
    pixels = np.ascontiguousarray(batch.images).tobytes()
    labels = np.ascontiguousarray(batch.labels).tobytes()
    digest = hashlib.sha256(pixels + labels).hexdigest()
    return json.dumps(dataclasses.asdict(study) | {"batch": digest}, sort_keys=True)


def read_scores(
    path: pathlib.Path, study: ProxyStudy, fingerprint: str
) -> tuple[int, dict[str, np.ndarray]]:
    """How many cells are scored, and the scores f32[n]; 0 and NaN without a file.

    Raises:
      ValueError: the file is of another study, or is damaged.
    """
    if not path.exists():
        empty = np.full(study.cells, np.nan, np.float32)
        return 0, {name: empty.copy() for name in study.proxies}
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = dict(file)
        stored, done = json.loads(str(arrays.pop("study"))), int(arrays.pop("done"))
        stored = dict(stored)
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise _damaged(path, type(error).__name__) from None
    asked = json.loads(fingerprint)
    other = [name for name in asked if stored.get(name) != asked[name]]
    if other:
        pairs = [f"{name} ({stored.get(name)}, asked {asked[name]})" for name in other]
        raise ValueError(
            f"{path} holds scores of another study, which differs in "
            f"{', '.join(pairs)}. Give its settings, or name another --out."
        )
    is_complete = all(
        name in arrays and arrays[name].shape == (study.cells,)
        for name in study.proxies
    )
    if not is_complete or not 0 <= done <= study.cells:
        raise _damaged(path, "arrays of another size")
    return done, {name: arrays[name] for name in study.proxies}


def _damaged(path: pathlib.Path, why: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read as scores of proxies ({why}). Remove it, or name "
        f"another --out."
    )


def _write_scores(path, fingerprint, done, scores) -> None:
    content = io.BytesIO()
    np.savez(content, study=fingerprint, done=done, **scores)
    records.write_bytes(path, content.getvalue())


def accuracies(table: BenchmarkTable, cells: Mixing) -> np.ndarray:
    """Test accuracy of cells after 200 epochs, f32[n], fractions."""
    return np.asarray(table.test[rows_of(table, cells)])


def correlate(
    scores: Mapping[str, np.ndarray],
    theirs: np.ndarray,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, dict]:
    """Correlations of every proxy with other scores of the same cells.

    Args:
      scores: name -> [n]; NaN ranks last.
      theirs: [n].
      seed: of the bootstrap.
      resamples: draws of the bootstrap; with 0 the intervals are NaN.

    Returns:
      name -> result of `rank_correlations`, and the number of cells without a score.
    """
    options = dict(resamples=resamples, seed=seed)
    results = {}
    for name, values in scores.items():
        missing = np.isnan(values)
        ranked = np.where(missing, -np.inf, values)
        correlations = rank_correlations(ranked, theirs, **options)
        results[name] = correlations | {"unscored": int(missing.sum())}
    return results


def genotypes(study: ProxyStudy, cells: Mixing) -> list[Genotype | Topology]:
    """The cells of a study."""
    space = SPACES[study.space]
    hosted = jax.device_get(cells)
    return [
        derive(space, jax.tree.map(lambda leaf, i=i: leaf[i], hosted))
        for i in range(study.cells)
    ]
