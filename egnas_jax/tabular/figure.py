"""Pictures of searches in a table and of rank correlations, as SVG."""

import io

from egnas_jax.tabular.report import label

# of Okabe and Ito, told apart with any colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")


def draw_curves(entries: list[dict], title: str) -> str:
    """Mean test regret over the number of queries, with its confidence band.

    Args:
      entries: of `report.summarise`.
      title: of the picture.
    """
    from matplotlib.figure import Figure  # no window system, no global state

    figure = Figure((7.2, 4.8), layout="constrained")
    axis = figure.subplots()
    for index, entry in enumerate(entries):
        colour = COLOURS[index % len(COLOURS)]
        band = {
            part: [100 * value for value in values]
            for part, values in entry["curves"]["test_regret"].items()
        }
        axis.plot(entry["queries"], band["mean"], color=colour, label=label(entry))
        axis.fill_between(
            entry["queries"], band["low"], band["high"], color=colour, alpha=0.2, lw=0
        )
    axis.set(xscale="log", xlabel="queries", title=title,
             ylabel="test regret, percentage points")  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return as_svg(figure)


def as_svg(figure) -> str:
    """The same figure gives the same bytes."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "egnas"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
