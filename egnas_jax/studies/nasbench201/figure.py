"""Pictures of searches in a table and of rank correlations, as SVG."""

import math

from egnas_jax.plotting import COLOURS, GREY, as_svg, line_style
from egnas_jax.studies.nasbench201.summary import label


def draw_curves(entries: list[dict], selected: float, title: str) -> str:
    """Mean test regret over the number of queries, with its confidence band.

    Args:
      entries: of `report.summarise`.
      selected: of `report.best_by_validation_regret`.
      title: of the picture.
    """
    from matplotlib.figure import Figure  # no window system, no global state

    # 0.17 inches a line of the legend, which stands beside the curves
    height = max(4.8, 0.17 * len(entries) + 0.8)
    figure = Figure((9.6, height), layout="constrained")
    axis = figure.subplots()
    plot_curves(axis, {label(entry): entry for entry in entries}, selected)
    axis.set_title(title)
    figure.legend(loc="outside right upper", fontsize=8, handlelength=4)
    return as_svg(figure)


def plot_curves(axis, named: dict[str, dict], selected: float) -> None:
    """The curves of `draw_curves` on one axis of matplotlib; named: name -> entry."""
    for index, (name, entry) in enumerate(named.items()):
        style = line_style(index)
        band = {
            # of a record of a single run bounds are None
            part: [math.nan if value is None else 100 * value for value in values]
            for part, values in entry["curves"]["test_regret"].items()
        }
        marker = "o" if len(entry["queries"]) == 1 else None  # no line to see
        axis.plot(entry["queries"], band["mean"], **style, marker=marker, label=name)
        axis.fill_between(
            entry["queries"],
            band["low"],
            band["high"],
            color=style["color"],
            alpha=0.2,
            lw=0,
        )
    axis.axhline(
        100 * selected,
        color=GREY,
        lw=1,
        ls=(0, (1, 3)),
        label="best of all by validation",
    )
    axis.set(xscale="log", xlabel="queries", ylabel="test regret, percentage points")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter("")
    # linear up to a tenth of a point, then logarithmic: methods part below one
    axis.set_yscale("symlog", linthresh=0.1)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)


def draw_ranks(result: dict, title: str) -> str:
    """Supernet loss of each cell against its accuracies in the table.

    Args:
      result: of `rank_run.rank`.
      title: of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure((9.6, 4.6), layout="constrained")
    sample = result["sample"]
    tables = [entry for entry in result["correlations"] if entry["supernet"] == "loss"]
    for axis, entry in zip(figure.subplots(1, 2), tables, strict=True):
        percent = [100 * value for value in sample[entry["table"]]]
        axis.scatter(sample["supernet_loss"], percent, s=8, alpha=0.6, color=COLOURS[0])
        axis.set_title(
            "\n".join(
                f"{name} {entry[name]['value']:.3f} ({entry[name]['low']:.3f} to "
                f"{entry[name]['high']:.3f})"
                for name in ("kendall", "spearman")
            ),
            fontsize=9,
        )
        axis.set(
            xlabel="loss under the supernet's weights",
            ylabel=f"{entry['table'].replace('_', ' ')}, %",
        )
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    return as_svg(figure)
