"""Places the boxes of a layered drawing so that nothing overlaps.

Boxes stand in columns, and lines run between neighbouring columns only. First the boxes
of each column are ordered so that few lines cross. Then they are moved up and down so
that lines become short, while boxes keep their distance.

Sources: Sugiyama, Tagawa, Toda (1981) for the order by averages of neighbours; the pool
adjacent violators algorithm for the least-squares heights.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

SWEEPS = 8


class Box(NamedTuple):
    """A rectangle to place.

    Attributes:
      column: number from the left.
      width, height: pixels; the width is 0 where a line passes the column.
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
    """Centres (x, y) of boxes in pixels, measured from the top left corner.

    Args:
      boxes: the boxes to place.
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
    """The boxes of each column from top to bottom: the best order of several sweeps."""
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
    """Sorts the boxes of each column by the mean position of their neighbours.

    Neighbours are those on the left if `forward`, else those on the right.
    """
    columns = [list(column) for column in columns]
    position = {i: n for column in columns for n, i in enumerate(column)}
    for column in columns if forward else reversed(columns):
        column.sort(key=lambda i: _mean_neighbour(i, lines, position, forward))
        position |= {i: n for n, i in enumerate(column)}
    return columns


def _mean_neighbour(index, lines, position, forward):
    """Mean position of the neighbours of a box; its own position if it has none."""
    if forward:
        neighbours = [position[left] for left, right in lines if right == index]
    else:
        neighbours = [position[right] for left, right in lines if left == index]
    return sum(neighbours) / len(neighbours) if neighbours else position[index]


def _swapped(columns, lines):
    """Swaps neighbours in a column wherever that removes a crossing."""
    columns = [list(column) for column in columns]
    for column in columns:
        for upper, lower in itertools.pairwise(range(len(column))):
            before = _crossings(columns, lines)
            column[upper], column[lower] = column[lower], column[upper]
            if _crossings(columns, lines) >= before:
                column[upper], column[lower] = column[lower], column[upper]
    return columns


def _crossings(columns, lines):
    """Number of pairs of lines that cross."""
    position = {i: (c, n) for c, ids in enumerate(columns) for n, i in enumerate(ids)}
    ends = sorted((position[left], position[right]) for left, right in lines)
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
            targets = {i: _mean_neighbour(i, lines, ys, forward) for i in column}
            ys |= _apart(targets, boxes, column, spacing)
    return ys


def _apart(targets, boxes, column, spacing):
    """The ys nearest to the targets (least squares) that keep boxes apart."""
    heights = [boxes[index].height for index in column]
    steps = [(a + b) / 2 + spacing for a, b in itertools.pairwise(heights)]
    offsets = list(itertools.accumulate(steps, initial=0.0))
    blocks = []  # (sum of target shifts, number of boxes that share their mean)
    for index, offset in zip(column, offsets, strict=True):
        total, count = targets[index] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            above = blocks.pop()
            total, count = total + above[0], count + above[1]
        blocks.append((total, count))
    shifts = [total / count for total, count in blocks for _ in range(count)]
    ys = [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
    return dict(zip(column, ys, strict=True))
