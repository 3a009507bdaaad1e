"""Whether this device computes what torch computes on a CPU.

Weights, mixings and images are drawn anew on every machine, by names and by a generator
whose numbers no version changes; a golden file holds what torch made of them, a few
kilobytes (`python -m benchmarks.make_golden`, needs torch). So the programs that are
checked are the full-size ones that are timed.

Dims: P individuals, N images.
"""

import pathlib
import zlib
from typing import NamedTuple

import jax
import numpy as np
import optax

from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import SPACES
from egnas_jax.types import PyTree

FOLDER = pathlib.Path(__file__).parent / "golden"
# Relative, of float32 products and sums. A ReLU or a maximum whose inputs are equal to
# rounding sends its gradient elsewhere, so gradients are given more.
LOSS, GRADIENT = 1e-4, 2e-3
# Of a leaf's gradient, what is compared with its own size, not with this share of all.
SMALL = 1e-3


class Case(NamedTuple):
    """A size of the problem.

    Attributes:
      config: of the supernet.
      side: of an image, pixels.
      individuals: P.
      images: N that a population is evaluated on.
      batch: images of a weight step.
      checked: individuals, the first ones, that golden files hold.
    """

    config: SupernetConfig
    side: int
    individuals: int
    images: int
    batch: int
    checked: int


CASES = {
    "full": Case(SupernetConfig(), 32, 50, 128, 256, 8),
    "trial": Case(
        SupernetConfig(channels=4, layers=3, partial_channels=2), 8, 4, 16, 16, 4
    ),
}


class Drawn(NamedTuple):
    """What both sides compute with, on the host.

    Attributes:
      variables: of the supernet, f32.
      primitives: cell kind -> f32[P, E, K].
      images: f32[batch, H, W, 3]; a population is evaluated on the first of them.
      labels: i32[batch].
    """

    variables: PyTree
    primitives: dict[str, np.ndarray]
    images: np.ndarray
    labels: np.ndarray


def name_of(path) -> str:
    """Of a leaf: the keys and indices that lead to it."""
    return "/".join(
        str(getattr(part, "key", getattr(part, "idx", ""))) for part in path
    )


def _generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def draw(case: Case) -> Drawn:
    """The problem of a size: the same numbers everywhere."""
    net, space = make_supernet(case.config), SPACES[case.config.space]
    shape = case.side, case.side, 3
    described = jax.eval_shape(lambda key: net.init(key, shape), jax.random.key(0))
    variables = jax.tree_util.tree_map_with_path(_leaf, described)
    rng, primitives = _generator("individuals"), {}
    for kind in space.kinds:
        # far apart: exp(N(0, 1)), brought to sum 1
        rows = np.exp(
            rng.normal(size=(case.individuals, space.num_edges, len(space.primitives)))
        )
        primitives[kind] = (rows / rows.sum(-1, keepdims=True)).astype(np.float32)
    rng = _generator("images")
    images = rng.normal(size=(case.batch, *shape)).astype(np.float32)
    labels = rng.randint(0, case.config.num_classes, case.batch).astype(np.int32)
    return Drawn(variables, primitives, images, labels)


def _leaf(path, leaf) -> np.ndarray:
    """A weight or a statistic: such that activations keep their size."""
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
    """Two numbers a leaf: its norm, and its product with a random unit vector.

    Returns:
      Name of the leaf -> f64[2].
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name, flat = name_of(path), np.ravel(np.asarray(leaf, np.float64))
        direction = _generator(f"direction {name}").normal(size=flat.size)
        direction /= np.linalg.norm(direction)
        found[name] = np.array([np.linalg.norm(flat), flat @ direction])
    return found


def velocity(optimizer: PyTree) -> PyTree:
    """What the first step of SGD leaves: the clipped gradient, decay added."""
    return optax.tree_utils.tree_get(optimizer, "trace")


def load(size: str) -> dict[str, np.ndarray] | None:
    """The golden file of a size, or None where it was not made."""
    path = FOLDER / f"supernet_{size}.npz"
    if not path.exists():
        return None
    with np.load(path) as file:
        return dict(file)


def population_error(golden, batch_stats: str, loss, correct) -> dict[str, float]:
    """Largest relative difference of a loss, and of a number of correct answers, of the
    individuals that the golden file holds."""
    theirs = golden[f"loss_{batch_stats}"]
    ours = np.asarray(loss)[: len(theirs)]
    hits = np.asarray(correct)[: len(theirs)] - golden[f"correct_{batch_stats}"]
    return {
        "loss": float(np.max(np.abs(ours - theirs) / np.abs(theirs))),
        "correct": int(np.max(np.abs(hits))),
    }


def step_error(golden, loss: float, optimizer: PyTree) -> dict[str, float]:
    """Relative differences of the loss and of the worst leaf's gradient."""
    theirs = dict(zip(golden["names"].tolist(), golden["gradients"], strict=True))
    ours = signature(velocity(optimizer))
    whole = np.linalg.norm([norm for norm, _ in theirs.values()])
    worst = max(
        np.max(np.abs(ours[name] - theirs[name])) / max(theirs[name][0], SMALL * whole)
        for name in theirs
    )
    return {
        "loss": float(abs(loss - golden["loss_step"]) / abs(golden["loss_step"])),
        "gradient": float(worst),
    }


def passes(error: dict[str, float]) -> bool:
    """Whether float32 may differ so much. One answer may: two logits can be equal to
    rounding."""
    most = {"loss": LOSS, "gradient": GRADIENT, "correct": 1}
    return all(value <= most[name] for name, value in error.items())
