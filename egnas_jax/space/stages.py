"""Describes the cells of a network as a list of stages.

A stage is a run of cells of one kind and width, of which the first may halve the image.
The text form has one entry a stage, as in `normal*3,reduce*1/2,normal@1.5`: the kind,
`*` and the number of cells, `/2` where the first cell halves the image, and `@` and the
width. Settings and config.json hold the text.
"""

import dataclasses
import re
from collections.abc import Sequence

_ENTRY = re.compile(
    r"(?P<kind>[A-Za-z]\w*)(?:\*(?P<cells>\d+))?(?P<stride>/2)?"
    r"(?:@(?P<width>\d+(?:\.\d+)?(?:e[+-]?\d+)?))?",
    re.ASCII,
)
EXAMPLE = "normal*3,reduce*1/2,normal@1.5"
MOST = 200  # cells: far beyond any useful network


@dataclasses.dataclass(frozen=True)
class Stage:
    """Cells of one kind that follow one another.

    Attributes:
      kind: of the cells, "normal" or "reduce": which of the two they are in a genotype.
      cells: how many; None: an equal share of the cells that the setting `layers`
        leaves to all stages with None.
      width: channels of the cells, as a multiple of the setting `channels`; None: those
        of the stage before (1 for the first), times the stride.
      stride: 2: the first cell of the stage halves the image; 1: none does.
    """

    kind: str = "normal"
    cells: int | None = None
    width: float | None = None
    stride: int = 1

    def __str__(self) -> str:
        cells = "" if self.cells is None else f"*{self.cells}"
        # all digits, so that the text gives the same number of channels
        number = "" if self.width is None else repr(float(self.width))
        width = number and f"@{number.removesuffix('.0')}"
        return f"{self.kind}{cells}{'/2' if self.stride == 2 else ''}{width}"


def stages_text(where: str, stages: str | Sequence[Stage], kinds: Sequence[str]) -> str:
    """Returns the text of some stages, checked.

    Args:
      where: what they belong to, as messages name it ("The space mine: macro").
      stages: records, or a text.
      kinds: of cells; each must be in a stage.

    Raises:
      ValueError: there are none, one cannot be read, or a kind is unknown or missing.
    """
    if isinstance(stages, str):
        stages = _parsed(where, stages)
    is_list = isinstance(stages, Sequence) and len(stages) > 0
    if not is_list or not all(isinstance(stage, Stage) for stage in stages):
        raise ValueError(
            f"{where} is {stages!r:.80}, but must be a list of Stage, at least one."
        )
    for stage in stages:
        _check(where, stage, kinds)
    missing = [kind for kind in kinds if kind not in {stage.kind for stage in stages}]
    if missing:
        raise ValueError(
            f"{where} has no stage of {' and '.join(missing)} cells. Each kind of cell "
            f"needs one: {', '.join(kinds)}."
        )
    return ",".join(map(str, stages))


def _parsed(where, text) -> list[Stage]:
    stages = []
    for entry in text.replace(" ", "").split(","):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(
                f"{where} has the stage {entry!r}, which is none. Write "
                f"KIND*CELLS/2@WIDTH, of which all but the kind may be left out: "
                f"{EXAMPLE}."
            )
        cells, width = match["cells"], match["width"]
        stage = Stage(
            match["kind"],
            None if cells is None else int(cells),
            None if width is None else float(width),
            2 if match["stride"] else 1,
        )
        stages.append(stage)
    return stages


def _check(where, stage, kinds):
    """Refuses a stage with a field out of its range."""
    cells, width = stage.cells, stage.width
    is_number = isinstance(width, int | float) and not isinstance(width, bool)
    for field, value, is_valid, allowed in (
        ("kind", stage.kind, stage.kind in kinds, " or ".join(map(repr, kinds))),
        (
            "cells",
            cells,
            cells is None or (type(cells) is int and 1 <= cells <= MOST),
            f"a whole number from 1 to {MOST}, or None",
        ),
        (
            "width",
            width,
            width is None or (is_number and 0 < width <= MOST),
            f"a number above 0 and at most {MOST}, or None",
        ),
        (
            "stride",
            stage.stride,
            type(stage.stride) is int and stage.stride in (1, 2),
            "1 or 2",
        ),
    ):
        if not is_valid:
            raise ValueError(
                f"{where} has a stage with {field}={value!r}, but it must be {allowed}."
            )


def network_stages(text: str | None, layers: int) -> tuple[Stage, ...]:
    """Returns the stages of a network, with their numbers of cells.

    Args:
      text: of the stages, checked by `stages_text`; None: those of DARTS, three stages
        of normal cells, between which one reduction cell each doubles the channels.
      layers: number of cells.

    Raises:
      ValueError: the stages cannot have so many cells.
    """
    if text is None:
        first, second = layers // 3, 2 * layers // 3
        reductions = sorted({first, second})  # a network of one cell has one
        ends = [*reductions, layers]
        starts = [0, *(position + 1 for position in reductions)]
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        stages = [Stage("normal", lengths[0])]
        for length in lengths[1:]:
            stages += [Stage("reduce", 1, stride=2), Stage("normal", length)]
        return tuple(stages)
    stages = _parsed("stages", text)
    nearest = nearest_layers(text, layers)
    if nearest != layers:
        raise ValueError(
            f"layers is {layers}, but the stages {text} cannot have so many cells in "
            f"all. Nearest: layers={nearest}."
        )
    fixed, shares = _counts(stages)
    share = (layers - fixed) // max(1, shares)
    return tuple(
        stage if stage.cells is not None else dataclasses.replace(stage, cells=share)
        for stage in stages
    )


def nearest_layers(text: str, layers: int) -> int:
    """Returns the number of cells nearest to `layers` that some stages can have."""
    fixed, shares = _counts(_parsed("stages", text))
    if not shares:
        return fixed
    return fixed + shares * max(1, round((layers - fixed) / shares))


def _counts(stages) -> tuple[int, int]:
    """Cells of the stages that say how many they have, and the number of the others."""
    numbers = [stage.cells for stage in stages]
    return sum(number or 0 for number in numbers), numbers.count(None)
