"""Draws the rows of `curves` with matplotlib, as SVG that depends on the rows alone."""

import math
import textwrap

from egnas_jax.plotting import COLOURS, as_svg, line_style
from egnas_jax.studies.report.curves import QUANTILES, FigureData, Row
from egnas_jax.studies.report.runs import SUMMARIES

MARKERS = "osD^vPX"  # distinguish groups, together with colours and dashes
WIDTH, HEIGHT = 4.6, 3.1  # of a panel, inches
# beginnings of their labels
INTEGER_AXES = ("epochs", "generations", "batches", "population")
FEW_POINTS = 12  # up to so many points of a line get a marker each


def draw_lines(data: FigureData) -> str:
    """Panels of lines, a colour for each group, as SVG."""
    groups = list(dict.fromkeys(row.group for row in data.rows))
    columns = min(2, len(data.panels))
    figure, axes = _subplots(math.ceil(len(data.panels) / columns), columns)
    for axis, (panel, labels) in zip(axes.flat, data.panels.items(), strict=False):
        for index, group in enumerate(groups):
            rows = [r for r in data.rows if (r.panel, r.group) == (panel, group)]
            _draw_group(axis, rows, index)
        _finish(axis, *labels, count_edges=panel.startswith(("skip_", "pool_")))
    for axis in axes.flat[len(data.panels) :]:
        axis.remove()
    _add_legend(figure, groups)
    return as_svg(figure, data.name)


def draw_population(data: FigureData) -> str:
    """Quantiles as SVG: a row of panels for each group, a column for each quantity."""
    groups = list(dict.fromkeys(row.group for row in data.rows))
    figure, axes = _subplots(len(groups), len(data.panels), width=3.4, sharey="col")
    for row, group in enumerate(groups):
        for column, (panel, labels) in enumerate(data.panels.items()):
            axis = axes[row][column]
            rows = [r for r in data.rows if (r.panel, r.group) == (panel, group)]
            _draw_quantiles(axis, rows)
            _finish(axis, *labels)
        axes[row][0].set_title(_wrapped(group, 44), fontsize=9, loc="left")
    return as_svg(figure, data.name)


def _subplots(rows: int, columns: int, width=WIDTH, sharey=False):
    from matplotlib.figure import Figure  # needs no window system, no global state

    figure = Figure((width * columns, HEIGHT * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def _draw_group(axis, rows: list[Row], index: int) -> None:
    """The lines of one group: thin for each seed, thick for their mean, with a band."""
    style = line_style(index)
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row.run, []).append((row.x, row.y))
    mean, low, high = (lines.pop(name, None) for name in SUMMARIES)
    is_single = mean is None and len(lines) == 1
    style_of_run = (
        dict(linewidth=1.8, alpha=1.0) if is_single else dict(linewidth=0.7, alpha=0.6)
    )
    for line in lines.values():
        marker = MARKERS[index % len(MARKERS)] if len(line) <= FEW_POINTS else None
        xs, ys = zip(*line, strict=True)
        axis.plot(xs, ys, **style, **style_of_run, marker=marker, markersize=4)
    if mean:
        xs = [x for x, _ in mean]
        mean, low, high = ([y for _, y in line] for line in (mean, low, high))
        axis.plot(xs, mean, **style, linewidth=2.2)
        band = dict(color=style["color"], alpha=0.15, linewidth=0)
        axis.fill_between(xs, low, high, **band)


def _draw_quantiles(axis, rows: list[Row]) -> None:
    values = {name: {r.x: r.y for r in rows if r.run == name} for name in QUANTILES}
    xs = list(values["median"])
    if not xs:
        axis.text(0.5, 0.5, "not recorded", ha="center", transform=axis.transAxes)
        return
    least, q1, median, q3, largest = (list(line.values()) for line in values.values())
    blue = COLOURS[0]
    axis.fill_between(xs, least, largest, color=blue, alpha=0.15, linewidth=0)
    axis.fill_between(xs, q1, q3, color=blue, alpha=0.4, linewidth=0)
    marker = "o" if len(xs) <= FEW_POINTS else None
    axis.plot(xs, median, color=blue, linewidth=1.8, marker=marker, markersize=4)
    if len(xs) == 1:  # a band over a single x has no width
        for low, high, width in ((least, largest, 1), (q1, q3, 4)):
            axis.vlines(xs, low, high, color=blue, linewidth=width)


def _finish(axis, x_label: str, y_label: str, count_edges: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.ticklabel_format(axis="y", useOffset=False)  # no "+1.945" above the axis
    if x_label.startswith("minutes"):
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))  # room for labels as 0.0075
    if x_label.startswith(INTEGER_AXES):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = axis.get_xlim()
        if high - low < 1:  # a single epoch
            axis.set_xlim(round(low) - 1, round(high) + 1)
    if count_edges:
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(-0.3, 8.3)  # a derived cell has at most 8 edges


def _add_legend(figure, groups: list[str]) -> None:
    """Adds a legend below the panels and makes the figure higher by its height."""
    from matplotlib.lines import Line2D

    handles = []
    for index in range(len(groups)):
        marker = MARKERS[index % len(MARKERS)]
        style = line_style(index) | dict(linewidth=2, marker=marker, markersize=4)
        handles.append(Line2D([], [], **style))
    longest = max(map(len, groups))
    columns = 3 if longest < 26 else 2 if longest < 44 else 1
    labels = [_wrapped(group, 70) for group in groups]
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.16 * lines)
    style = dict(ncols=columns, fontsize=8, frameon=False, handlelength=4)
    figure.legend(handles, labels, loc="outside lower center", **style)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text
