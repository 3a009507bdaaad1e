"""Defines the style of all plots, and writes them as reproducible SVG."""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which people with any colour vision can distinguish.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, GREY = "#56B4E9", "#E69F00", "#555555"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, GREY)
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of a plot's line; the first 35 lines differ from each other."""
    return dict(
        color=COLOURS[index % len(COLOURS)], linestyle=DASHES[index % len(DASHES)]
    )


def as_svg(figure: "Figure", salt: str = "") -> str:
    """A matplotlib figure as SVG; equal figures give equal bytes.

    Args:
      figure: created by `matplotlib.figure.Figure`, without pyplot's global state.
      salt: makes the ids in this SVG differ from those of other figures on a page.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"egnas {salt}".strip()}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
