"""Prepares a finished search for the selectors."""

import dataclasses
from typing import NamedTuple

import numpy as np

from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.finished_search import check_trained, valid_batches
from egnas_jax.runs.search_config import SearchConfig, limit_of
from egnas_jax.runs.search_result import SearchResult
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import Strategy
from egnas_jax.space import SPACES, Space
from egnas_jax.space.derivation import check_rule
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.limits.derived import derived_mixing
from egnas_jax.studies.noise.study import MOST_BATCHES, batch_of
from egnas_jax.studies.selection.cells import (
    CellWeights,
    SelectionProblem,
    stacked,
)
from egnas_jax.studies.selection.finetune import FineTuning
from egnas_jax.studies.selection.options import SelectionOptions
from egnas_jax.studies.selection.score import PopulationScore, as_mixing, of_mixing


class Bench(NamedTuple):
    """What the selectors share, besides their problem.

    Attributes:
      score: counts the images that candidates are evaluated on.
      tuning: trains weights; None where no selector does.
      num_classes: of the data.
    """

    score: PopulationScore
    tuning: FineTuning | None
    num_classes: int

    def images(self) -> dict[str, int]:
        """Images so far, of candidates and of weight steps."""
        trained = 0 if self.tuning is None else self.tuning.images_trained
        evaluated = self.score.images_evaluated
        return {"candidate_images": evaluated, "trained_images": trained}


def strategy_of(run: SearchResult) -> Strategy:
    """Returns the method of a run.

    Args:
      run: the run that is selected from.

    Raises:
      ValueError: selectors cannot derive cells as it does.
    """
    config, net = run.config, run.net
    name = "The run" if run.folder is None else str(run.folder)
    if limit_of(config).is_set:
        raise ValueError(
            f"{name} searched under limits ({', '.join(limit_of(config).largest)}), "
            f"which selectors do not know: their cells could be over them. Take the "
            f"run's own genotype, or search without strategy.limit."
        )
    if net.config.live is not None:
        raise ValueError(
            f"{name} is a run of {config.strategy_name}, whose last supernet lacks "
            f"most primitives, so there is little to select from. Select from a run "
            f"whose supernet has all, of darts, say."
        )
    check_rule(space_of(config), "Take the run's own genotype.")
    check_trained(run)
    _, make = STRATEGIES[config.strategy_name]
    return make(net, config.strategy)


def space_of(config: SearchConfig) -> Space:
    """Returns the space of a search, with the derivation that the search has.

    Args:
      config: of the search; SNAS may keep all edges where its space keeps two.
    """
    space = SPACES[config.supernet.space]
    if getattr(config.strategy, "derive", None) == "edge_all":
        return dataclasses.replace(space, derive="argmax")
    return space


def complete(options: SelectionOptions, run: SearchResult) -> SelectionOptions:
    """Returns options with the run's own values for None.

    Args:
      options: of the selectors.
      run: has the validation images.

    Raises:
      ValueError: it has fewer than the batches hold.
    """
    size = options.batch_size or batch_of(run.config)
    batches = options.batches or min(run.num_valid // size, MOST_BATCHES)
    if batches < 1 or batches * size > run.num_valid:
        raise ValueError(
            f"The selectors would evaluate cells on {max(batches, 1)} batches of "
            f"{size} images, but the run has {run.num_valid} validation images for all "
            f"batches. Lower --batches or --batch-size."
        )
    return dataclasses.replace(options, batches=batches, batch_size=size)


def make_problem(
    run: SearchResult,
    strategy: Strategy,
    options: SelectionOptions,
    data: ArrayData | None,
) -> tuple[SelectionProblem, Bench]:
    """Returns what selectors select from, and what counts their images.

    The weights of a method that trains one cell at a time know no mixture, and its
    incumbent is a single cell: there the selectors start from equal weights.

    Args:
      run: the run that is selected from.
      strategy: its method.
      options: without None.
      data: the arrays that the search was given; None: the data that it names.

    Raises:
      ValueError: the data are not found, or are not those of the run.
      FloatingPointError: the loss of the supernet is not finite.
    """
    space = space_of(run.config)
    incumbent = of_mixing(space, strategy.incumbent(run.state.strategy))
    start = incumbent
    if strategy.one_hot:
        zeros = np.zeros((space.num_edges, len(space.primitives)), np.float32)
        even = softmax_mixing(dict.fromkeys(space.kinds, zeros), space)
        start = of_mixing(space, even)
    images, labels = valid_batches(
        run, options.batches, options.batch_size, options.seed, data=data
    )
    score = PopulationScore(
        run.net,
        run.state.variables,
        images,
        labels,
        batch_stats=options.batch_stats,
        population_chunk=getattr(run.config.strategy, "population_chunk", None),
    )
    problem = SelectionProblem(
        space=space,
        incumbent=incumbent,
        cell=discrete_cell(space, incumbent),
        start=start,
        score=score,
        options=options,
        seed=options.seed,
        num_batches=options.batches,
    )
    _check_finite(problem, run)
    tuning = None
    if options.finetune:
        tuning = FineTuning(run, score, options.finetune, data=data)
    return problem, Bench(score, tuning, run.config.supernet.num_classes)


def _check_finite(problem: SelectionProblem, run: SearchResult) -> None:
    """Refuses a supernet whose loss is not finite."""
    if not np.isfinite(problem.score(stacked([problem.start])).loss).all():
        raise FloatingPointError(
            f"The supernet's loss after {int(run.state.epoch)} epochs is not finite, "
            f"so there is nothing to select from."
        )


def discrete_cell(space: Space, weights: CellWeights) -> CellWeights:
    """Returns the cell that the space's rule derives, as one-hot rows.

    Args:
      space: of the cells.
      weights: of primitives [G, E, K] and of edges [G, E].
    """
    return of_mixing(space, derived_mixing(space, as_mixing(space, weights)))
