"""Builds the configuration of a retraining from a preset and settings."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.lookup import lookup
from egnas_jax.nn.network import check_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.runs.genotype_source import Source, read_genotype, stages_of_run
from egnas_jax.runs.presets import RECIPES
from egnas_jax.settings import apply_settings, check_types
from egnas_jax.space import parse_genotype

# fields of earlier versions that no result depended on
REMOVED = ("eval_batch_size",)


def retrain_config(
    preset: str = "digits",
    *,
    settings: Mapping[str, Any] | None = None,
    auxiliary: bool = True,
    init_from: str | pathlib.Path | None = None,
) -> RetrainConfig:
    """The configuration of a retraining; the genotype is given when it is run.

    Args:
      preset: a name of `presets.RECIPES`.
      settings: dotted path -> value, as in `--set`; texts are parsed as there.
      auxiliary: False leaves the auxiliary head out, whatever the preset says.
      init_from: run directory to take the first weights from, or None.

    Raises:
      ValueError: an unknown preset or path, or a value of the wrong type or range.
    """
    parts = lookup(RECIPES, preset, "preset")
    config = RetrainConfig(
        data=DataConfig(**parts["data"]),
        network=NetworkConfig(**parts["network"]),
        init_from=None if init_from is None else str(pathlib.Path(init_from).resolve()),
        **parts["run"],
    )
    settings = {**parts.get("settings", {}), **(settings or {})}
    if not auxiliary:
        settings["network.auxiliary"] = False
    return apply_settings(config, settings)


def with_genotype(
    config: RetrainConfig,
    genotype: Source,
    *,
    source: Source | None = None,
    log: Callable[[str], Any] | None = None,
) -> RetrainConfig:
    """The configuration with a genotype in it.

    Where the genotype is of a run whose network has a list of stages, so has this one,
    unless `config.network` has another list.

    Args:
      config: of a retraining.
      genotype: anything that `read_genotype` takes.
      source: what the genotype was read from, if `genotype` is not that.
      log: called with a note where several genotypes were found; None: the logger
        "egnas_jax" gets it as a warning.

    Raises:
      ValueError: there is no such genotype, it has no path through a cell, or its
        network cannot have a setting of `config.network`.
    """
    source, genotype = source or genotype, read_genotype(genotype, log=log)
    network = config.network
    if network.stages is None:
        network = dataclasses.replace(network, stages=stages_of_run(source))
    check_network(genotype, network)
    return dataclasses.replace(config, genotype=genotype.format(), network=network)


def from_dict(stored: dict[str, Any]) -> RetrainConfig:
    """The configuration that config.json holds.

    Raises:
      ValueError, KeyError, TypeError: it is no configuration of a retraining, or a
        value has another type.
    """
    stored = {name: value for name, value in stored.items() if name not in REMOVED}
    config = RetrainConfig(
        **{
            **stored,
            "data": DataConfig(**stored["data"]),
            "network": NetworkConfig(**stored["network"]),
        }
    )
    check_types(config, stored)
    parse_genotype(config.genotype)
    return config
