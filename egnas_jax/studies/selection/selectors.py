"""Lists the selectors by name."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from egnas_jax.lookup import check_known
from egnas_jax.studies.selection.argmax import argmax
from egnas_jax.studies.selection.cells import Selection, SelectionProblem
from egnas_jax.studies.selection.leave_one_out import leave_one_out
from egnas_jax.studies.selection.local_search import local_search
from egnas_jax.studies.selection.options import SHARED, SelectionOptions
from egnas_jax.studies.selection.perturbation import perturbation
from egnas_jax.studies.selection.shapley import shapley

ALL = "all"


class Selector(NamedTuple):
    """A rule by which a cell is selected.

    Attributes:
      select: problem -> selection.
      text: what it does, in a few words.
      options: fields of `SelectionOptions` that it uses besides `SHARED`.
    """

    select: Callable[[SelectionProblem], Selection]
    text: str
    options: tuple[str, ...] = ()

    @property
    def draws(self) -> bool:
        """Whether its decisions depend on the problem's seed."""
        return "seeds" in self.options

    @property
    def finetunes(self) -> bool:
        """Whether it trains weights between its decisions, if that is asked for."""
        return "finetune" in self.options


SELECTORS = {
    "argmax": Selector(argmax, "the largest weights, as the search does"),
    "perturbation": Selector(
        perturbation,
        "what the supernet misses most, edge by edge (DARTS-PT)",
        ("criterion", "seeds", "finetune"),
    ),
    "shapley": Selector(
        shapley,
        "Shapley values of primitives (Shapley-NAS)",
        ("seeds", "permutations", "truncation", "value"),
    ),
    "leave-one-out": Selector(
        leave_one_out,
        "what each primitive alone is worth to the supernet",
        ("criterion",),
    ),
    "local-search": Selector(
        local_search,
        "the best change of one choice, until none is better",
        ("criterion",),
    ),
}


def used_options(names: Sequence[str]) -> frozenset[str]:
    """Returns the fields of `SelectionOptions` that selectors use.

    Args:
      names: of the selectors.
    """
    return frozenset(SHARED).union(*(SELECTORS[name].options for name in names))


def selector_names(by: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of selectors, each once.

    Args:
      by: a name, several, or "all".

    Raises:
      ValueError: there is no such selector, or none is named.
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names:
        raise ValueError(f"No selector is named. Known: {', '.join(SELECTORS)}, {ALL}.")
    if ALL in names:
        return tuple(SELECTORS)
    for name in names:
        check_known({**SELECTORS, ALL: None}, name, "selector")
    return tuple(dict.fromkeys(names))


def check_used(names: Sequence[str], options: SelectionOptions) -> None:
    """Refuses an option that no selector would use, unless it has its default.

    Args:
      names: of the selectors.
      options: of the selectors.

    Raises:
      ValueError: there is such an option.
    """
    used = used_options(names)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in used or value == field.default:
            continue
        able = [name for name, each in SELECTORS.items() if field.name in each.options]
        raise ValueError(
            f"{field.name} is {value}, but {' and '.join(names)} would not use it. "
            f"Leave it out, or add {' or '.join(able)}."
        )
