"""What both sides of a benchmark are given: weights, mixings, images, labels.

One folder on disk, written by the torch side and read by both, so that the two run the
same arithmetic in processes of their own.

Dims: P individuals, N images, E edges, K primitives.
"""

import json
import pathlib
from typing import NamedTuple

import numpy as np

from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.space import SPACES

IMAGES = 128  # of a fitness batch
BATCH = 256  # of a weight step
SIDE = 32  # of an image, pixels
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP = 0.1, 0.9, 3e-4, 5.0


class Problem(NamedTuple):
    """One benchmark.

    Attributes:
      config: of the supernet.
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
    """A problem without weights: normal images and far-apart individuals."""
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
    with np.load(folder / "problem.npz") as file:
        z = dict(file)

    def part(prefix):
        return {n.removeprefix(prefix): z[n] for n in z if n.startswith(prefix)}

    config = SupernetConfig(**json.loads(str(z["config"])))
    return Problem(config, part("w/"), part("m/"), z["images"], z["labels"])
