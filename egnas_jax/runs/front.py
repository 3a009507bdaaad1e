"""Writes the Pareto front of a search with several objectives, and reads its points."""

import csv
import io
import pathlib

import jax
import numpy as np

from egnas_jax.plotting import BLUE, GREY, ORANGE, as_svg
from egnas_jax.search.strategy import Front, Strategy, derive_incumbent
from egnas_jax.space import Space
from egnas_jax.storage import records
from egnas_jax.types import PyTree

FILE = "front.json"
KNEE = "knee"


def write_front(
    folder: pathlib.Path, strategy: Strategy, space: Space, state: PyTree
) -> None:
    """Writes front.json, front.csv and front.svg; nothing before the first search.

    Args:
      folder: run directory.
      strategy: a method with a front.
      space: of the cells.
      state: the method's state.
    """
    front = jax.tree.map(np.asarray, strategy.front(state))
    if not front.is_member.any():
        return
    points = front_points(strategy, space, front)
    names = list(front.objectives)
    content = records.plain({"objectives": names, "points": points})
    records.write_json(folder / FILE, content)
    records.write_text(folder / "front.csv", _as_csv(names, points))
    records.write_text(folder / "front.svg", _draw(front, points))


def front_points(strategy: Strategy, space: Space, front: Front) -> list[dict]:
    """Members of a front by ascending first objective, each genotype once.

    Returns:
      {"point": number from 0, "genotype": text, "knee": bool, and each objective}.
    """
    names = list(front.objectives)
    values = np.stack([front.objectives[name] for name in names], axis=1)
    members = np.flatnonzero(front.is_member)
    members = members[np.lexsort(values[members].T[::-1])]
    texts = {}
    for index in members:
        mixing = jax.tree.map(lambda leaf, i=index: leaf[i], front.mixings)
        text = derive_incumbent(strategy, space, mixing).format()
        # Of cells that differ in their integers alone, the knee stays.
        if text not in texts or index == front.knee:
            texts[text] = index
    return [
        {
            "point": number,
            "genotype": text,
            KNEE: bool(index == front.knee),
            **{n: float(v) for n, v in zip(names, values[index], strict=True)},
        }
        for number, (text, index) in enumerate(texts.items())
    ]


def read_point(folder: pathlib.Path, point: str) -> str:
    """The genotype of one point of a run's front.

    Args:
      folder: run directory.
      point: "knee", or a number of front.json.

    Raises:
      ValueError: the run has no front, or no such point.
    """
    path = folder / FILE
    if not path.exists():
        raise ValueError(
            f"{folder} has no {FILE}: --point is for a finished search with several "
            f"objectives (--strategy nsga2). Leave --point out."
        )
    hint = "Name a directory that a search wrote."
    points = records.read_object(path, hint).get("points")
    if not points:
        raise ValueError(f"{path} holds no points of a front. {hint}")
    for entry in points:
        if point == str(entry["point"]) or (point == KNEE and entry[KNEE]):
            return entry["genotype"]
    raise ValueError(
        f"--point is {point!r}, but must be {KNEE} or a number from 0 to "
        f"{len(points) - 1}, as {path} lists them."
    )


def _as_csv(names: list[str], points: list[dict]) -> str:
    columns = ["point", *names, KNEE, "genotype"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(points)
    return text.getvalue()


def _draw(front: Front, points: list[dict]) -> str:
    """The population, its front and the knee, over the first two objectives."""
    from matplotlib.figure import Figure  # needs no window system, no global state

    (y, x), figure = list(front.objectives)[:2], Figure((5.4, 4.2), layout="tight")
    axis = figure.subplots()
    others = ~front.is_member
    grey = dict(s=12, color=GREY, alpha=0.5, label="dominated")
    axis.scatter(front.objectives[x][others], front.objectives[y][others], **grey)
    line = sorted((entry[x], entry[y]) for entry in points)
    axis.plot(*zip(*line, strict=True), "o-", color=BLUE, ms=4, label="front")
    knee = [(entry[x], entry[y]) for entry in points if entry[KNEE]]
    axis.plot(*zip(*knee, strict=True), "s", color=ORANGE, ms=8, label=KNEE)
    axis.set(xlabel=f"{x}, millions".replace("_", "-"), ylabel=f"validation {y}")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    return as_svg(figure)
