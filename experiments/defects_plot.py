"""Plots three properties of the published code, a panel for each."""

import statistics

from defects_simulated import SPACE

from egnas_jax.plotting import BLUE, GREY, ORANGE, SKY, as_svg
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure
from egnas_jax.studies.statistics import summarise

TEXT = (
    "Left: of all directions of a search's populations. Middle: from the least to "
    "the largest share, means over searches; dashed: uniform. Right: sign rules; "
    "seeds, their mean and its 95 % interval; below 0 the winner is less accurate "
    "than alpha."
)
OFFSETS = ((-0.2, BLUE), (0.0, SKY), (0.2, ORANGE))  # of the kinds of searches


def mean_ends(walk: dict) -> tuple[float, float]:
    """Least and largest share of softmax(alpha), means over searches.

    Extremes over all searches would depend on their number.
    """
    ends = ("smallest_share", "largest_share")
    return tuple(statistics.fmean(walk[end]) for end in ends)


def plot(
    title: str,
    directions: dict[str, tuple[int, int]],
    walks: dict[str, dict[str, dict]],
    signs: list[dict],
) -> Figure:
    """A figure of the three properties.

    Args:
      title: its title.
      directions: variant -> result of `distinct_directions`.
      walks: kind of searches -> variant -> result of `random_walk` or `real_walk`.
      signs: results of `sign_rule`.
    """
    from matplotlib.figure import Figure as Canvas  # needs no window system

    canvas = Canvas((12.0, 3.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3, width_ratios=(3, 3, 5))
    rows = []
    for place, (name, counts) in enumerate(directions.items()):
        rows.append(_plot_directions(left, place, name, counts))
        rows += _plot_walks(middle, place, name, walks)
    labels = dict.fromkeys((sign["variant"], sign["sign"]) for sign in signs)
    for place, label in enumerate(labels):
        rows += _plot_sign(right, place, label, signs)
    for axis in (left, middle):
        axis.set_xticks(range(len(directions)), directions)
        axis.set_xlim(-0.6, len(directions) - 0.4)
    _label_axes(left, middle, right)
    ticks = [f"{sign} rule\n{variant}" for variant, sign in labels]
    right.set_xticks(range(len(labels)), ticks, fontsize=8)
    return as_figure(FigureData("defects", title, TEXT, {}, rows), as_svg(canvas))


def _plot_directions(axis, place: int, name: str, counts: tuple[int, int]) -> Row:
    distinct, total = counts
    share = 100 * distinct / total
    axis.bar(place, share, color=BLUE, width=0.6)
    style = dict(ha="center", va="bottom", fontsize=8)
    axis.annotate(f"{distinct:,} of\n{total:,}", (place, share), **style)
    return Row("distinct directions (%)", name, "", place, share)


def _plot_walks(axis, place: int, name: str, walks: dict) -> list[Row]:
    rows = []
    for (kind, variants), (offset, colour) in zip(walks.items(), OFFSETS, strict=False):
        ends = mean_ends(variants[name])
        style = dict(marker="_", markersize=9, lw=3, color=colour)
        label = None if place else kind  # once for all variants
        axis.plot([place + offset] * 2, ends, **style, label=label)
        rows += [
            Row(f"softmax(alpha), {kind}", name, end, place, value)
            for end, value in zip(("least", "largest"), ends, strict=True)
        ]
    return rows


def _plot_sign(
    axis, place: int, label: tuple[str, str], signs: list[dict]
) -> list[Row]:
    gains = [
        100 * sign["gain_on_batch"]
        for sign in signs
        if (sign["variant"], sign["sign"]) == label
    ]
    summary = summarise(gains)
    axis.plot([place] * len(gains), gains, "o", color=BLUE, alpha=0.5, ms=4)
    axis.plot(place, summary.mean, "D", color=ORANGE, ms=6)
    if summary.low is not None:
        axis.vlines(place, summary.low, summary.high, color=ORANGE, lw=2)
    panel, group = "winner minus alpha on its batch (points)", " ".join(label)
    return [
        Row(panel, group, f"seed {seed}", place, gain)
        for seed, gain in enumerate(gains)
    ]


def _label_axes(left, middle, right) -> None:
    left.set_ylim(0, 125)
    left.set_yticks(range(0, 101, 25))
    left.set_ylabel("distinct directions (%)")
    middle.axhline(1 / len(SPACE.primitives), color=GREY, ls="--", lw=1)
    middle.set_ylabel("softmax(alpha)")
    middle.legend(
        fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1)
    )
    right.axhline(0, color=GREY, ls="--", lw=1)
    right.set_ylabel("winner minus alpha\non its batch (points)")
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
