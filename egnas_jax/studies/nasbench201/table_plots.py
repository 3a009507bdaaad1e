"""Plots table searches and rank correlations, as SVG."""

import math
from typing import TYPE_CHECKING

from egnas_jax.plotting import COLOURS, GREY, as_svg, line_style
from egnas_jax.studies.nasbench201.summary import label
from egnas_jax.studies.tables import interval_text

if TYPE_CHECKING:  # matplotlib is imported where it plots
    from matplotlib.axes import Axes


def draw_curves(entries: list[dict], selected: float, title: str) -> str:
    """Mean test regret over the number of queries, with its confidence band.

    Args:
      entries: results of `summary.summarise_method`.
      selected: result of `summary.best_by_validation_regret`.
      title: title of the figure.
    """
    from matplotlib.figure import Figure  # needs no window system, no global state

    # 0.17 inches for each line of the legend, which is beside the curves
    height = max(4.8, 0.17 * len(entries) + 0.8)
    figure = Figure((9.6, height), layout="constrained")
    axis = figure.subplots()
    plot_curves(axis, {label(entry): entry for entry in entries}, selected)
    axis.set_title(title)
    figure.legend(loc="outside right upper", fontsize=8, handlelength=4)
    return as_svg(figure)


def plot_curves(axis: "Axes", named: dict[str, dict], selected: float) -> None:
    """Plots the curves of `draw_curves` on one axis.

    Args:
      axis: where to plot.
      named: name in the legend -> entry.
      selected: result of `summary.best_by_validation_regret`.
    """
    for index, (name, entry) in enumerate(named.items()):
        style, queries = line_style(index), entry["queries"]
        curve = {
            # JSON has None for the bounds of a single run
            part: [math.nan if value is None else 100 * value for value in values]
            for part, values in entry["curves"]["test_regret"].items()
        }
        marker = "o" if len(queries) == 1 else None  # a single point makes no line
        axis.plot(queries, curve["mean"], **style, marker=marker, label=name)
        band = dict(color=style["color"], alpha=0.2, lw=0)
        axis.fill_between(queries, curve["low"], curve["high"], **band)
    dotted = dict(color=GREY, lw=1, ls=(0, (1, 3)))
    axis.axhline(100 * selected, **dotted, label="best of all by validation")
    axis.set(xscale="log", xlabel="queries", ylabel="test regret, percentage points")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter("")
    # linear up to a tenth of a point, then logarithmic: methods differ below a point
    axis.set_yscale("symlog", linthresh=0.1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)


def draw_ranks(result: dict, title: str) -> str:
    """Supernet loss of each cell against its accuracies in the table.

    Args:
      result: result of `rank_correlation.rank`.
      title: title of the figure.
    """
    from matplotlib.figure import Figure  # needs no window system, no global state

    figure = Figure((9.6, 4.6), layout="constrained")
    sample = result["sample"]
    entries = [entry for entry in result["correlations"] if entry["supernet"] == "loss"]
    for axis, entry in zip(figure.subplots(1, 2), entries, strict=True):
        percent = [100 * value for value in sample[entry["table"]]]
        axis.scatter(sample["supernet_loss"], percent, s=8, alpha=0.6, color=COLOURS[0])
        texts = [f"{n} {interval_text(**entry[n])}" for n in ("kendall", "spearman")]
        axis.set_title("\n".join(texts), fontsize=9)
        axis.set(
            xlabel="loss under the supernet's weights",
            ylabel=f"{entry['table'].replace('_', ' ')}, %",
        )
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    return as_svg(figure)
