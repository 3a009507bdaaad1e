"""Checks that this device computes what torch computes on a CPU.

Every machine draws the same weights, mixings and images: the seed of an array follows
from its name, and the generator draws the same under every version of numpy. A golden
file of a few kilobytes holds torch's results (`python -m benchmarks.make_golden`, which
needs torch). So the full-size programs that are timed are also the ones checked.

Dims: P individuals, N images.
"""

import pathlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import optax

from benchmarks import small_space
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import SPACES
from egnas_jax.types import PyTree

FOLDER = pathlib.Path(__file__).parent / "golden"


class Bounds(NamedTuple):
    """Largest differences from torch that are still rounding.

    Attributes:
      loss: relative difference of a loss.
      gradient: relative difference of a leaf's gradient. It is wider, since a ReLU or a
        maximum whose inputs are equal to rounding may send its gradient elsewhere.
      correct: difference of the correct answers, a share of the images. One answer may
        always differ, since two logits can be equal to rounding.
    """

    loss: float
    gradient: float
    correct: float


# By precision, as `rows.PRECISIONS` names them. Only those of float32 are tight. The
# others find NaN, a missing operation or a wrong kernel, not a wrong digit. bfloat16
# keeps 8 bits: on a CPU losses of the case "trial" differ by 6e-4 and the worst leaf's
# gradient by 0.30, and the full network is three times as deep. A gradient that is
# lost or doubled differs by 1. TF32 ("default" on a GPU) keeps 11 bits.
BOUNDS = {
    "float32": Bounds(loss=1e-4, gradient=2e-3, correct=0.0),
    "default": Bounds(loss=1e-2, gradient=0.3, correct=1 / 16),
    "bfloat16": Bounds(loss=5e-2, gradient=0.9, correct=1 / 8),
}
# A leaf's gradient is compared with its own norm, or with this share of the norm of all
# gradients where its own is smaller.
SMALL = 1e-3


class Case(NamedTuple):
    """A size of the problem.

    Attributes:
      config: configuration of the supernet.
      side: of an image, in pixels.
      individuals: P.
      images: N, the images that a population is evaluated on.
      batch: images of a weight step.
      checked: number of individuals, from the first, that golden files hold.
    """

    config: SupernetConfig
    side: int
    individuals: int
    images: int
    batch: int
    checked: int


CASES = {
    "full": Case(
        config=SupernetConfig(),
        side=32,
        individuals=50,
        images=128,
        batch=256,
        checked=8,
    ),
    "trial": Case(
        config=SupernetConfig(channels=4, layers=3, partial_channels=2),
        side=8,
        individuals=4,
        images=16,
        batch=16,
        checked=4,
    ),
}


def case_named(name: str) -> Case:
    """The case of a name in `CASES`, or "tiny": one cell, which compiles in seconds."""
    if name != "tiny":
        return CASES[name]
    return Case(
        config=SupernetConfig(
            channels=4, layers=1, partial_channels=2, space=small_space.register()
        ),
        side=8,
        individuals=6,
        images=8,
        batch=8,
        checked=5,
    )


class Drawn(NamedTuple):
    """The inputs of both sides, on the host.

    Attributes:
      variables: of the supernet, f32.
      primitives: cell kind -> f32[P, E, K].
      images: f32[batch, H, W, 3]; a population is evaluated on the first N.
      labels: i32[batch].
    """

    variables: PyTree
    primitives: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray


def name_of(path) -> str:
    """Name of a leaf: the keys and indices that lead to it."""
    return "/".join(
        str(getattr(part, "key", getattr(part, "idx", ""))) for part in path
    )


def _generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def draw(case: Case) -> Drawn:
    """Draws the problem of a size, the same on every machine."""
    net, space = make_supernet(case.config), SPACES[case.config.space]
    shape = case.side, case.side, 3
    described = jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0))
    variables = drawn_leaves(described)
    rng, primitives = _generator("individuals"), {}
    for kind in space.kinds:
        # individuals far apart: exp(N(0, 1)), normalised to sum 1
        rows = np.exp(
            rng.normal(size=(case.individuals, space.num_edges, len(space.primitives)))
        )
        primitives[kind] = (rows / rows.sum(-1, keepdims=True)).astype(np.float32)
    rng = _generator("images")
    images = rng.normal(size=(case.batch, *shape)).astype(np.float32)
    labels = rng.randint(0, case.config.num_classes, case.batch).astype(np.int32)
    return Drawn(variables, primitives, images, labels)


def drawn_leaves(described: PyTree) -> PyTree:
    """Draws weights and statistics at a scale that preserves activations.

    Args:
      described: shapes of parameters and batch_stats. The names of its leaves decide
        what is drawn.
    """
    return jax.tree_util.tree_map_with_path(_leaf, described)


def _leaf(path, leaf) -> np.ndarray:
    name = name_of(path)
    kind, uniform = name.rpartition("/")[2], _generator(name).uniform
    fan_in = {"depthwise": leaf.shape[-2:], "conv": leaf.shape[-3:]}
    centre, width = {
        "scale": (1.0, 0.2),
        "var": (1.0, 0.5),
        "mean": (0.0, 0.2),
        "bias": (0.0, 0.2),
    }.get(kind, (0.0, (1.2 / np.prod(fan_in.get(kind, leaf.shape[-1:]))) ** 0.5))
    return uniform(centre - width, centre + width, leaf.shape).astype(np.float32)


def signature(tree: PyTree) -> dict[str, np.ndarray]:
    """Two numbers per leaf: its norm, and its product with a random unit vector.

    Returns:
      Name of the leaf -> f64[2].
    """
    signatures = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name, flat = name_of(path), np.ravel(np.asarray(leaf, np.float64))
        direction = _generator(f"direction {name}").normal(size=flat.size)
        direction /= np.linalg.norm(direction)
        signatures[name] = np.array([np.linalg.norm(flat), flat @ direction])
    return signatures


def velocity(optimizer: PyTree) -> PyTree:
    """Velocity of SGD; after the first step, the clipped gradient plus weight decay."""
    return optax.tree_utils.tree_get(optimizer, "trace")


def load(size: str) -> dict[str, np.ndarray] | None:
    """Reads the golden file of a size; None where there is none."""
    path = FOLDER / f"supernet_{size}.npz"
    if not path.exists():
        return None
    with np.load(path) as file:
        return dict(file)


def population_error(golden, batch_stats: str, loss, correct) -> dict[str, float]:
    """Largest differences from torch over the individuals of the golden file.

    Returns:
      "loss": relative difference; "correct": difference of the correct answers.
    """
    theirs = golden[f"loss_{batch_stats}"]
    ours = np.asarray(loss)[: len(theirs)]
    hits = np.asarray(correct)[: len(theirs)] - golden[f"correct_{batch_stats}"]
    return {
        "loss": float(np.max(np.abs(ours - theirs) / np.abs(theirs))),
        "correct": int(np.max(np.abs(hits))),
    }


def signature_error(theirs: Mapping, ours: Mapping) -> float:
    """Largest relative difference of a leaf's signature from theirs."""
    total = np.linalg.norm([norm for norm, _ in theirs.values()])
    differences = (
        np.max(np.abs(np.subtract(ours[name], theirs[name])))
        / max(theirs[name][0], SMALL * total)
        for name in theirs
    )
    return float(np.max(list(differences)))


def step_error(golden, loss: float, optimizer: PyTree) -> dict[str, float]:
    """Relative differences from torch: the loss, and the worst leaf's gradient."""
    theirs = dict(zip(golden["names"].tolist(), golden["gradients"], strict=True))
    return {
        "loss": float(abs(loss - golden["loss_step"]) / abs(golden["loss_step"])),
        "gradient": signature_error(theirs, signature(velocity(optimizer))),
    }


def violations(error: dict[str, float], precision: str, images: int) -> list[str]:
    """Names the differences from torch that are NaN or larger than rounding.

    Args:
      error: of `population_error` or `step_error`. What `Bounds` does not name is left
        out.
      precision: a key of `BOUNDS`.
      images: that a population was evaluated on.
    """
    bounds = BOUNDS[precision]
    answers = max(1, round(bounds.correct * images))
    most = bounds._asdict() | {"correct": answers}
    return [
        f"{name} {value:.3g} (at most {most[name]:.3g})"
        for name, value in error.items()
        if name in most and not value <= most[name]
    ]
