"""Draws the cells of a genotype as one SVG, without any other program.

A cell is laid out in columns: its inputs, then in turn the labels of edges and the
nodes that the edges lead to, and the output in the last column. Labels are boxes of
the layout, as nodes are. Curves bend in the gaps between columns, so no line crosses a
text.
"""

import itertools
import zlib
from typing import NamedTuple
from xml.sax.saxutils import escape

from egnas_jax.space.drawing.cells import cell_graphs
from egnas_jax.space.drawing.layout import Box, place
from egnas_jax.space.genotype import Genotype
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.space.topology import Topology

# The colours of Okabe and Ito, which people with any colour vision can distinguish. A
# family without an entry has one for each kind of primitive, whatever its window.
FAMILY_COLOURS = {"pool": "#009E73", "skip": "#555555", "none": "#BBBBBB"}
KIND_COLOURS = ("#0072B2", "#56B4E9", "#CC79A7", "#E69F00", "#D55E00")
INK, OUTPUT_COLOUR = "#222222", "#A0A0A0"

# Lengths in pixels.
GAP, SPACING, MARGIN, HEADING = 46, 8, 16, 30
FONT_SIZE = 12
CHARACTER = 7.3  # width of a monospaced character of this font size
HEADING_CHARACTER = 8.6  # of that of a heading
NODE, LABEL_HEIGHT, LANE_HEIGHT = 30, 20, 4
ARROW, ARROW_SPACING = 7, 9

HEAD = """<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" \
height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" \
font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{size}" \
text-anchor="middle">
<title>{title}</title>
<desc>{text}</desc>
<rect width="100%" height="100%" fill="white"/>
"""


class Item(NamedTuple):
    """A node, the label of an edge, or a lane where a line passes a column.

    Attributes:
      box: column and size.
      text: its content; empty for a lane, which is not drawn.
      colour: of the frame.
      corner: radius of the corners, pixels.
    """

    box: Box
    text: str = ""
    colour: str = INK
    corner: float = 4


class Edge(NamedTuple):
    """A line between two nodes.

    Attributes:
      stops: indices of the items that the line runs through, from source to target.
      primitive: None for a line to the output.
    """

    stops: tuple[int, ...]
    primitive: str | None


def draw_svg(genotype: Genotype | Topology, caption: str | None = None) -> str:
    """Draws all cells of a genotype, one above the other.

    Args:
      genotype: the genotype whose cells are drawn.
      caption: a line above them; None: no line.

    Returns:
      An SVG document, readable at its own size. Its description is the text form of
      the genotype.
    """
    parts, width, top = [], 0.0, 0.0
    title, cells = cell_graphs(genotype)
    if caption is not None:
        parts.append(_heading(escape(caption), MARGIN + FONT_SIZE))
        width, top = MARGIN + HEADING_CHARACTER * len(caption), float(HEADING)
    for cell in cells:
        items, edges = _items_and_edges(cell)
        lines = [line for edge in edges for line in itertools.pairwise(edge.stops)]
        boxes = [item.box for item in items]
        below = top + MARGIN + HEADING
        centres = [
            (x + MARGIN, y + below)
            for x, y in place(boxes, lines, gap=GAP, spacing=SPACING)
        ]
        parts.append(_heading(cell.heading, top + MARGIN + FONT_SIZE))
        parts += [_draw_edge(edge, edges, items, centres) for edge in edges]
        parts += map(_draw_item, items, centres)
        right, top = _corner(boxes, centres)
        width = max(width, right)
    head = HEAD.format(
        width=width + MARGIN,
        height=top + MARGIN,
        size=FONT_SIZE,
        title=title,
        text=escape(genotype.format()),
    )
    return head + "".join(parts) + "</svg>\n"


def _items_and_edges(cell):
    """Items and edges of one cell; item n is node n of the cell."""
    columns = _columns(cell)
    items = [
        _node(name, column) for name, column in zip(cell.names, columns, strict=True)
    ]
    if cell.outputs:
        height = max(NODE, ARROW_SPACING * (len(cell.outputs) + 1))
        items.append(_node("c_{k}", max(columns) + 1, height))
    edges = [
        _connect(items, source, target, primitive)
        for primitive, source, target in cell.edges
    ]
    edges += [_connect(items, node, len(columns)) for node in cell.outputs]
    return items, edges


def _columns(cell):
    """Column of each node: right of its sources, with a column of labels between."""
    columns = [0] * cell.num_inputs
    for node in range(cell.num_inputs, len(cell.names)):
        sources = [source for _, source, target in cell.edges if target == node]
        columns.append(2 + max(columns[source] for source in sources))
    return columns


def _node(text, column, height=NODE):
    return Item(Box(column, max(NODE, _text_width(text)), height), text)


def _text_width(text):
    return CHARACTER * len(text) + FONT_SIZE


def _connect(items, source, target, primitive=None):
    """Makes an edge; adds its label, in the last column, and a lane in all others."""
    first, last = items[source].box.column + 1, items[target].box.column - 1
    stops = [source]
    for column in range(first, last + 1):
        stops.append(len(items))
        if primitive and column == last:
            box = Box(column, _text_width(primitive), LABEL_HEIGHT)
            items.append(Item(box, primitive, _colour(primitive), LABEL_HEIGHT / 2))
        else:
            items.append(Item(Box(column, 0, LANE_HEIGHT)))
    return Edge((*stops, target), primitive)


def _colour(primitive):
    """The colour of a primitive, or of a line to the output (None)."""
    if primitive is None:
        return OUTPUT_COLOUR
    family = FAMILIES[primitive]
    if family in FAMILY_COLOURS:
        return FAMILY_COLOURS[family]
    kind = primitive.rsplit("_", 1)[0]  # without the window: sep_conv of sep_conv_3x3
    # Python's own hash differs from process to process.
    return KIND_COLOURS[zlib.crc32(kind.encode()) % len(KIND_COLOURS)]


def _corner(boxes, centres):
    """The x of a cell's right edge and the y of its lower edge."""
    rights = [x + box.width / 2 for box, (x, _) in zip(boxes, centres, strict=True)]
    lows = [y + box.height / 2 for box, (_, y) in zip(boxes, centres, strict=True)]
    return max(rights), max(lows)


def _heading(text, y):
    return (
        f'<text x="{MARGIN}" y="{y:.1f}" text-anchor="start" font-weight="bold" '
        f'font-size="14" fill="{INK}">{text}</text>\n'
    )


def _draw_item(item, centre):
    """A frame with a text; nothing for a lane."""
    if not item.text:
        return ""
    (x, y), (_, width, height) = centre, item.box
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{item.corner}" fill="white" '
        f'stroke="{item.colour}" stroke-width="1.5"/>\n'
        f'<text x="{x:.1f}" y="{y + FONT_SIZE / 3:.1f}" fill="{INK}">'
        f"{escape(item.text)}</text>\n"
    )


def _draw_edge(edge, edges, items, centres):
    """A curve through the stops of an edge, with an arrow head at the target."""
    colour = _colour(edge.primitive)
    x, y = centres[edge.stops[0]]
    path = [f"M{x:.1f},{y:.1f}"]
    for left, right in itertools.pairwise(edge.stops):
        start = _column_edge(items, centres, items[left].box.column, 1)
        end = _column_edge(items, centres, items[right].box.column, -1)
        next_y = centres[right][1]
        if right == edge.stops[-1]:
            next_y += _port(edge, edges, centres)
            end -= ARROW
        middle = (start + end) / 2
        path.append(f"H{start:.1f}C{middle:.1f},{y:.1f} {middle:.1f},{next_y:.1f} ")
        path.append(f"{end:.1f},{next_y:.1f}")
        y = next_y
    target = edge.stops[-1]
    tip = centres[target][0] - items[target].box.width / 2
    path.append(f"H{tip - ARROW:.1f}")
    dashes = ' stroke-dasharray="4 3"' if edge.primitive == "none" else ""
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="{colour}" '
        f'stroke-width="1.5"{dashes}/>\n'
        f'<path d="M{tip:.1f},{y:.1f}l{-ARROW},-3.5v7z" fill="{colour}"/>\n'
    )


def _column_edge(items, centres, column, side):
    """The x of the right (side 1) or left (side -1) border of a column."""
    index = max(
        (i for i, item in enumerate(items) if item.box.column == column),
        key=lambda i: items[i].box.width,
    )
    return centres[index][0] + side * items[index].box.width / 2


def _port(edge, edges, centres):
    """Height at which an edge enters its target, relative to the target's centre."""
    incoming = [other for other in edges if other.stops[-1] == edge.stops[-1]]
    incoming.sort(key=lambda other: centres[other.stops[-2]][1])
    position = [other is edge for other in incoming].index(True)
    return (position - (len(incoming) - 1) / 2) * ARROW_SPACING
