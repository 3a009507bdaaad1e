"""Holds the inputs of a benchmark: weights, mixings, images, labels.

The torch side writes them to a folder that both sides read, so that both compute the
same in separate processes.

Dims: P individuals, N images, E edges, K primitives.
"""

import json
import pathlib
from typing import NamedTuple

import numpy as np

from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import SPACES

IMAGES = 128  # images of a fitness batch
BATCH = 256  # images of a weight step
SIDE = 32  # of an image, in pixels
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP = 0.1, 0.9, 3e-4, 5.0


class Problem(NamedTuple):
    """The inputs of one benchmark.

    Attributes:
      config: configuration of the supernet.
      weights: torch name -> array.
      mixings: cell kind -> f32[P, E, K].
      images: f32[BATCH, H, W, C]; the first `IMAGES` are the fitness batch.
      labels: i64[BATCH].
    """

    config: SupernetConfig
    weights: dict[str, np.ndarray]
    mixings: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray


def draw(config: SupernetConfig, individuals: int, seed: int = 0) -> Problem:
    """Draws a problem without weights: normal images, individuals far apart."""
    rng, space = np.random.default_rng(seed), SPACES[config.space]
    mixings = {}
    for kind in space.kinds:
        shape = individuals, space.num_edges, len(space.primitives)
        rows = np.exp(rng.normal(size=shape))
        mixings[kind] = (rows / rows.sum(-1, keepdims=True)).astype(np.float32)
    images = rng.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)
    labels = rng.integers(0, config.num_classes, BATCH)
    return Problem(config, {}, mixings, images, labels)


def save(problem: Problem, folder: pathlib.Path) -> None:
    """Writes a problem to a folder."""
    arrays = {f"w/{name}": leaf for name, leaf in problem.weights.items()}
    arrays |= {f"m/{kind}": rows for kind, rows in problem.mixings.items()}
    np.savez(
        folder / "problem.npz",
        images=problem.images,
        labels=problem.labels,
        config=json.dumps(vars(problem.config)),
        **arrays,
    )


def load(folder: pathlib.Path) -> Problem:
    """Reads the problem of a folder."""
    with np.load(folder / "problem.npz") as file:
        arrays = dict(file)

    def part(prefix):
        return {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }

    config = SupernetConfig(**json.loads(str(arrays["config"])))
    return Problem(config, part("w/"), part("m/"), arrays["images"], arrays["labels"])
