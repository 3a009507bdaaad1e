"""Describes the result of a search, and writes it to the search's directory.

Dims: E edges, K primitives.
"""

import pathlib
from typing import NamedTuple

from egnas_jax.nn.network_cost import published_params
from egnas_jax.nn.supernet import Supernet, make_supernet
from egnas_jax.runs.front import write_front
from egnas_jax.runs.limits import costs_of_run
from egnas_jax.runs.schedule_checks import searches_last
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.search_setup import SearchSetup
from egnas_jax.runs.stages import config_of_stage
from egnas_jax.search import loop
from egnas_jax.search.cost import total_costs
from egnas_jax.search.state import SearchState
from egnas_jax.search.strategy import derive_incumbent
from egnas_jax.space import SPACES, Genotype, Topology, draw_svg, parse_genotype
from egnas_jax.storage import records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.labels import caption_of
from egnas_jax.types import Array, PyTree


class SearchResult(NamedTuple):
    """What a search found, and the supernet it was found in.

    Attributes:
      genotype: the cell. After an early stop it is that of the earlier epoch that
        `early_stop` of the last record names.
      valid_accuracy: of the supernet in the epoch of the genotype, a fraction; None
        before the first epoch ended. The supernet is evaluated under the mixing from
        which the genotype is derived, such as the softmax of alpha, and not under the
        derived cell.
      records: of every epoch, as metrics.jsonl holds them.
      net: the supernet, on one device; that of the last stage of a search in stages.
      state: weights, the method's state and all else that a checkpoint holds, of the
        last epoch; so is `alpha`, after an early stop too.
      config: with the data's digest and number of classes.
      num_valid: validation images.
      folder: run directory, or None.
      data_dir: where the data were looked for, or None for the usual places.
    """

    genotype: Genotype | Topology
    valid_accuracy: float | None
    records: list[dict]
    net: Supernet
    state: SearchState
    config: SearchConfig
    num_valid: int
    folder: pathlib.Path | None = None
    data_dir: str | pathlib.Path | None = None

    @property
    def variables(self) -> PyTree:
        """Weights and running statistics of the supernet."""
        return self.state.variables

    @property
    def alpha(self) -> dict[str, Array] | None:
        """Cell kind -> [E, K]; None for a method without one."""
        return getattr(self.state.strategy, "alpha", None)

    @property
    def summary(self) -> dict | None:
        """The contents of summary.json; None before the first epoch ended."""
        if not self.records:
            return None
        last, num_classes = self.records[-1], self.config.supernet.num_classes
        stages = SPACES[self.config.supernet.space].stages
        limited = costs_of_run(self.config, self.genotype)
        return {
            "genotype": self.genotype.format(),
            "valid_accuracy": self.valid_accuracy,
            "early_stop": last.get("early_stop"),
            "params": published_params(self.genotype, stages, num_classes),
            "seconds": sum(record["seconds"] for record in self.records),
            "epochs": len(self.records),
            **total_costs(self.records),
            "first_valid_accuracy": self.records[0]["valid_accuracy"],
            "chance": 1 / num_classes,
            "digest": last["digest"],
            **({} if limited is None else {"limited": limited}),
        }


def finish(
    setup: SearchSetup,
    end: loop.SearchEnd,
    data_dir: str | pathlib.Path | None,
) -> SearchResult:
    """Returns the result of a search, and writes it where the search has a directory.

    Args:
      setup: of the search.
      end: where its loop ended.
      data_dir: where its data were looked for.
    """
    run = setup.run
    result = search_result(setup.config, end, run.num_valid)
    if searches_last(setup.config) and int(end.state.epoch) < run.epochs:
        run.log(
            f"{setup.config.strategy_name} searches after the last epoch alone, so the "
            f"genotype is a random one until then. Go on with --resume."
        )
    result = result._replace(folder=run.folder, data_dir=data_dir)
    if run.folder:
        records.write_text(run.folder / "genotype.json", result.genotype.to_json())
        caption = caption_of(setup.config.strategy_name, setup.config.supernet.space)
        drawing = draw_svg(result.genotype, caption)
        records.write_text(run.folder / "genotype.svg", drawing)
        records.write_json(run.folder / "summary.json", result.summary)
        if run.problem.strategy.front is not None:
            write_front(run.folder, run.problem.strategy, run.space, end.state.strategy)
    return result


def search_result(
    config: SearchConfig, end: loop.SearchEnd, num_valid: int
) -> SearchResult:
    """Returns the result of a state, or of the epoch that an early stop returns.

    Args:
      config: of the search.
      end: state and records of its epochs.
      num_valid: validation images.
    """
    of_stage = config_of_stage(config, end.stage)
    net = make_supernet(of_stage.supernet)
    _, make = STRATEGIES[config.strategy_name]
    strategy, space = make(net, of_stage.strategy), SPACES[net.config.space]
    genotype = derive_incumbent(strategy, space, strategy.incumbent(end.state.strategy))
    record = end.records[-1] if end.records else {}
    if (stop := record.get("early_stop")) is not None:
        record = end.records[stop]
        genotype = parse_genotype(record["genotype"])
    return SearchResult(
        genotype=genotype,
        valid_accuracy=record.get("valid_accuracy"),
        records=end.records,
        net=net,
        state=end.state,
        config=config,
        num_valid=num_valid,
    )
