"""Places the boxes of a layered drawing so that nothing overlaps.

Boxes stand in columns, and lines run between neighbouring columns only. The boxes of
a column are ordered to make few lines cross, then moved up and down to make lines
short while they keep their distance.

Source: Sugiyama, Tagawa, Toda (1981) for ordering by averages of neighbours; pool
adjacent violators for the least-squares heights.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

SWEEPS = 8


class Box(NamedTuple):
    """Something to place.

    Attributes:
      column: counted from the left.
      width, height: pixels; a line that passes a column is a box of width 0.
    """

    column: int
    width: float
    height: float


def place(
    boxes: Sequence[Box],
    lines: Sequence[tuple[int, int]],
    *,
    gap: float,
    spacing: float,
) -> list[tuple[float, float]]:
    """Centres (x, y) of boxes, pixels, from the top left corner on.

    Args:
      boxes: what to place.
      lines: pairs of indices (left box, right box) in neighbouring columns.
      gap: free width between two columns.
      spacing: free height between two boxes of a column.
    """
    columns = _order(boxes, lines)
    xs, left = {}, 0.0
    for column in columns:
        width = max(boxes[index].width for index in column)
        xs |= {index: left + width / 2 for index in column}
        left += width + gap
    ys = _heights(boxes, lines, columns, spacing)
    top = min(ys[index] - box.height / 2 for index, box in enumerate(boxes))
    return [(xs[index], ys[index] - top) for index in range(len(boxes))]


def _order(boxes, lines):
    """Boxes of each column from top to bottom: the best of several sweeps."""
    numbers = range(max(box.column for box in boxes) + 1)
    columns = [[i for i, box in enumerate(boxes) if box.column == n] for n in numbers]
    best, fewest = columns, _crossings(columns, lines)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        columns = _sorted_by_neighbours(columns, lines, forward)
        columns = _swapped(columns, lines)
        crossings = _crossings(columns, lines)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _sorted_by_neighbours(columns, lines, forward):
    """Columns, each sorted by the mean position of its neighbours on one side."""
    columns = [list(column) for column in columns]
    position = {i: n for column in columns for n, i in enumerate(column)}
    for column in columns if forward else reversed(columns):
        column.sort(key=lambda i: _mean_neighbour(i, lines, position, forward))
        position |= {i: n for n, i in enumerate(column)}
    return columns


def _mean_neighbour(index, lines, position, forward):
    if forward:
        near = [position[left] for left, right in lines if right == index]
    else:
        near = [position[right] for left, right in lines if left == index]
    return sum(near) / len(near) if near else position[index]


def _swapped(columns, lines):
    """Columns with neighbours swapped wherever that removes a crossing."""
    columns = [list(column) for column in columns]
    for column in columns:
        for upper, lower in itertools.pairwise(range(len(column))):
            before = _crossings(columns, lines)
            column[upper], column[lower] = column[lower], column[upper]
            if _crossings(columns, lines) >= before:
                column[upper], column[lower] = column[lower], column[upper]
    return columns


def _crossings(columns, lines):
    """Pairs of lines that cross between two columns."""
    where = {i: (c, n) for c, items in enumerate(columns) for n, i in enumerate(items)}
    ends = sorted((where[left], where[right]) for left, right in lines)
    return sum(
        first[0][0] == second[0][0] and first[0] < second[0] and first[1] > second[1]
        for first, second in itertools.combinations(ends, 2)
    )


def _heights(boxes, lines, columns, spacing):
    """The y of each box, near the mean of its neighbours, with room between boxes."""
    ys = {index: 0.0 for column in columns for index in column}
    for column in columns:
        ys |= _apart(ys, boxes, column, spacing)
    for sweep in range(2 * SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            wanted = {i: _mean_neighbour(i, lines, ys, forward) for i in column}
            ys |= _apart(wanted, boxes, column, spacing)
    return ys


def _apart(wanted, boxes, column, spacing):
    """Heights nearest to the wanted ones (least squares) that keep boxes apart."""
    heights = [boxes[index].height for index in column]
    steps = [(a + b) / 2 + spacing for a, b in itertools.pairwise(heights)]
    offsets = list(itertools.accumulate(steps, initial=0.0))
    blocks = []  # (sum of wished shifts, boxes that share their mean)
    for index, offset in zip(column, offsets, strict=True):
        total, count = wanted[index] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            above = blocks.pop()
            total, count = total + above[0], count + above[1]
        blocks.append((total, count))
    shifts = [total / count for total, count in blocks for _ in range(count)]
    ys = [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
    return dict(zip(column, ys, strict=True))
