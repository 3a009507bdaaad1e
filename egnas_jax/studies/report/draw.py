"""Draws what `curves` holds, by matplotlib: SVG that is the same for the same rows."""

import math
import textwrap

from egnas_jax.plotting import COLOURS, as_svg, line_style
from egnas_jax.studies.report.curves import PLACES, Figure, Row

MARKERS = "osD^vPX"  # tell groups apart, beside colours and dashes
WIDTH, HEIGHT = 4.6, 3.1  # of a panel, inches
COUNTED = ("epochs", "batches", "population")  # axes of whole numbers
FEW = 12  # points of a line that get a marker each


def draw_lines(figure: Figure) -> str:
    """Panels of lines, a colour a group, as SVG."""
    groups = list(dict.fromkeys(row.group for row in figure.rows))
    columns = min(2, len(figure.panels))
    canvas, axes = _canvas(math.ceil(len(figure.panels) / columns), columns)
    for axis, (panel, labels) in zip(axes.flat, figure.panels.items(), strict=False):
        for index, group in enumerate(groups):
            rows = [r for r in figure.rows if (r.panel, r.group) == (panel, group)]
            _group(axis, rows, index)
        _finish(axis, *labels, integers=panel.startswith(("skip_", "pool_")))
    for axis in axes.flat[len(figure.panels) :]:
        axis.remove()
    _legend(canvas, groups)
    return as_svg(canvas, figure.name)


def draw_population(figure: Figure) -> str:
    """A row a group, a column a quantity: least, quartiles and largest, as SVG."""
    groups = list(dict.fromkeys(row.group for row in figure.rows))
    canvas, axes = _canvas(len(groups), len(figure.panels), width=3.4, share="col")
    for row, group in enumerate(groups):
        for column, (panel, labels) in enumerate(figure.panels.items()):
            axis = axes[row][column]
            _spread(axis, figure.rows, panel, group)
            _finish(axis, *labels)
        axes[row][0].set_title(_wrapped(group, 44), fontsize=9, loc="left")
    return as_svg(canvas, figure.name)


def _canvas(rows: int, columns: int, width=WIDTH, share=False):
    from matplotlib.figure import Figure as Canvas  # no window system, no global state

    canvas = Canvas((width * columns, HEIGHT * rows), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False, sharey=share)


def _group(axis, rows: list[Row], index: int) -> None:
    """The lines of one group: seeds thin, their mean thick with a band."""
    style = line_style(index)
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        series.setdefault(row.run, []).append((row.x, row.y))
    bands = [series.pop(name, None) for name in ("mean - sd", "mean", "mean + sd")]
    alone = bands[1] is None and len(series) == 1
    for own in series.values():
        marker = MARKERS[index % len(MARKERS)] if len(own) <= FEW else None
        width, opacity = (1.8, 1.0) if alone else (0.7, 0.6)
        axis.plot(
            *zip(*own, strict=True),
            **style,
            marker=marker,
            markersize=4,
            linewidth=width,
            alpha=opacity,
        )
    if bands[1]:
        low, mean, high = ([y for _, y in own] for own in bands)
        places = [x for x, _ in bands[1]]
        axis.plot(places, mean, **style, linewidth=2.2)
        axis.fill_between(
            places, low, high, color=style["color"], alpha=0.15, linewidth=0
        )


def _spread(axis, rows: list[Row], panel: str, group: str) -> None:
    held = {
        place: {
            r.x: r.y for r in rows if (r.panel, r.group, r.run) == (panel, group, place)
        }
        for place in PLACES
    }
    places = list(held["median"])
    if not places:
        axis.text(0.5, 0.5, "not recorded", ha="center", transform=axis.transAxes)
        return
    least, q1, median, q3, largest = (list(held[place].values()) for place in PLACES)
    blue = COLOURS[0]
    axis.fill_between(places, least, largest, color=blue, alpha=0.15, linewidth=0)
    axis.fill_between(places, q1, q3, color=blue, alpha=0.4, linewidth=0)
    axis.plot(
        places,
        median,
        color=blue,
        linewidth=1.8,
        marker="o" if len(places) <= FEW else None,
        markersize=4,
    )
    if len(places) == 1:  # a band has no width there
        for low, high, width in ((least, largest, 1), (q1, q3, 4)):
            axis.vlines(places, low, high, color=blue, linewidth=width)


def _finish(axis, x_label: str, y_label: str, integers: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    if x_label.startswith("minutes"):
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))  # 0.0075, say, is wide
    if x_label.startswith(COUNTED):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = axis.get_xlim()
        if high - low < 1:  # a single epoch
            axis.set_xlim(round(low) - 1, round(high) + 1)
    if integers:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(-0.3, 8.3)  # edges that a cell keeps


def _legend(canvas, groups: list[str]) -> None:
    """Below the panels, which keep their height however long the names are."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            **line_style(index),
            linewidth=2,
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
        )
        for index in range(len(groups))
    ]
    longest = max(map(len, groups))
    columns = 3 if longest < 26 else 2 if longest < 44 else 1
    labels = [_wrapped(group, 70) for group in groups]
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    width, height = canvas.get_size_inches()
    canvas.set_size_inches(width, height + 0.16 * lines)
    canvas.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=4,
    )


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text
