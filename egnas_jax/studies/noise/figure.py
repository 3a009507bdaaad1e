"""The picture of a noise study: ranks by number of batches, and the values behind."""

import numpy as np

from egnas_jax.plotting import BLUE, ORANGE, as_svg
from egnas_jax.studies.noise.matrix import Matrix

# colour, marker and line
STYLES = {"running": (BLUE, "o", "-"), "batch": (ORANGE, "s", "--")}


def draw_noise(result: dict, found: dict[str, Matrix]) -> str:
    """Agreement of ranks, and every candidate's values, as SVG.

    Args:
      result: record of `noise.study`.
      found: its matrices.
    """
    from matplotlib.figure import Figure  # no window system, no global state
    from matplotlib.ticker import MaxNLocator

    part = "fitness" if result["candidates"] == "individuals" else "cross_entropy"
    word = part.replace("_", " ")
    figure = Figure((11, 4.6), layout="constrained")
    left, *right = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    for name, (colour, marker, line) in STYLES.items():
        measured = [
            one
            for one in result["statistics"][name][part]["by_batches"]
            if one["mean"] is not None
        ]
        batches, mean, lower, upper = (
            [one[key] for one in measured]
            for key in ("batches", "mean", "lower", "upper")
        )
        left.plot(
            batches, mean, line, color=colour, marker=marker, label=f"{name} statistics"
        )
        left.fill_between(batches, lower, upper, color=colour, alpha=0.15, lw=0)
    left.set_xscale("log", base=2)
    left.xaxis.set_major_formatter("{x:.0f}")
    left.set(
        xlabel=f"batches of {result['batch_size']} images in a set",
        ylabel="Kendall's τ of two such sets",
        ylim=(min(0, left.get_ylim()[0]), 1),
        title=f"Do ranks by {word} repeat?\n(mean and quartiles)",
    )
    # below, where it hides neither curve nor band
    left.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    for axis, (name, matrix) in zip(right, found.items(), strict=True):
        values = matrix.fitness
        whole = matrix.pooled(np.arange(values.shape[1])[None])[0]
        colour, marker, _ = STYLES[name]
        order = np.argsort(whole)
        places = np.arange(1, len(order) + 1)
        axis.plot(places, values[order], marker, color=colour, alpha=0.25, ms=3, mew=0)
        axis.plot(places, whole[order], color="black", label="all batches")
        axis.plot([], [], marker, color=colour, ms=3, label="one batch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(
            xlabel="candidate, by all batches",
            ylabel=word,
            title=f"{name.capitalize()} statistics",
        )
        axis.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.14),
            ncols=2,
            fontsize=8,
            frameon=False,
        )
    return as_svg(figure)
