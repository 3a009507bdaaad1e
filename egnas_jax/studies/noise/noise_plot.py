"""Plots a noise study: how ranks repeat with more batches, and the values behind."""

import numpy as np

from egnas_jax.plotting import BLUE, ORANGE, as_svg
from egnas_jax.studies.noise.matrix import Matrix

# batch statistics -> colour, marker and line
STYLES = {"running": (BLUE, "o", "-"), "batch": (ORANGE, "s", "--")}


def draw_noise(result: dict, matrices: dict[str, Matrix]) -> str:
    """Agreement of ranks, and the values of every candidate, as SVG.

    Args:
      result: noise.json.
      matrices: batch statistics -> scores of the same study.
    """
    from matplotlib.figure import Figure  # needs no window system, no global state

    metric = "fitness" if result["candidates"] == "individuals" else "cross_entropy"
    name = metric.replace("_", " ")
    figure = Figure((11, 4.6), layout="constrained")
    left, *others = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    curves = {
        kind: described[metric]["by_batches"]
        for kind, described in result["statistics"].items()
    }
    _plot_agreement(left, curves)
    left.set(
        xlabel=f"batches of {result['batch_size']} images in a set",
        title=f"Do ranks by {name} repeat?\n(mean and quartiles)",
    )
    for axis, (kind, matrix) in zip(others, matrices.items(), strict=True):
        _plot_values(axis, kind, matrix)
        axis.set_ylabel(name)
    for axis in (left, *others):
        # below the axis, where it hides neither curve nor band
        place = dict(loc="upper center", bbox_to_anchor=(0.5, -0.14))
        axis.legend(**place, ncols=2, fontsize=8, frameon=False)
    return as_svg(figure)


def _plot_agreement(axis, curves: dict[str, list[dict]]) -> None:
    """Kendall's tau of two sets over their number of batches."""
    for kind, (colour, marker, line) in STYLES.items():
        points = [point for point in curves[kind] if point["mean"] is not None]
        batches, mean, lower, upper = (
            [point[key] for point in points]
            for key in ("batches", "mean", "lower", "upper")
        )
        style = dict(color=colour, marker=marker, label=f"{kind} statistics")
        axis.plot(batches, mean, line, **style)
        axis.fill_between(batches, lower, upper, color=colour, alpha=0.15, lw=0)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_ylabel("Kendall's τ of two such sets")
    axis.set_ylim(min(0, axis.get_ylim()[0]), 1)


def _plot_values(axis, kind: str, matrix: Matrix) -> None:
    """Fitness of every candidate on each batch and on all batches together."""
    from matplotlib.ticker import MaxNLocator

    on_each = matrix.fitness
    on_all = matrix.pooled(np.arange(on_each.shape[1])[None])[0]
    colour, marker, _ = STYLES[kind]
    order = np.argsort(on_all)
    places = np.arange(1, len(order) + 1)
    axis.plot(places, on_each[order], marker, color=colour, alpha=0.25, ms=3, mew=0)
    axis.plot(places, on_all[order], color="black", label="all batches")
    axis.plot([], [], marker, color=colour, ms=3, label="one batch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    title = f"{kind.capitalize()} statistics"
    axis.set(xlabel="candidate, by all batches", title=title)
