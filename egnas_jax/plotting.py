"""What all pictures share: colours, and SVG that is the same for the same figure."""

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of Okabe and Ito, told apart with any colour vision
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, GREY = "#56B4E9", "#E69F00", "#555555"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, GREY)
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of a picture's line; no two of the first 35 are alike."""
    return dict(
        color=COLOURS[index % len(COLOURS)], linestyle=DASHES[index % len(DASHES)]
    )


def as_svg(figure: "Figure", salt: str = "") -> str:
    """A figure of matplotlib as SVG; the same one gives the same bytes.

    Args:
      figure: made without a window system or global state (`matplotlib.figure.Figure`).
      salt: tells the names inside it from those of other pictures of one page.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"egnas {salt}".strip()}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
