"""Loads the trained network of a retraining's run directory."""

import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from egnas_jax.nn.network import make_network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import RetrainState, initial_state
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.retrain_config import from_dict
from egnas_jax.runs.retrain_result import Metadata, RetrainResult
from egnas_jax.space import Genotype, Topology, genotype_from_json, parse_genotype
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.jax_settings import pinned

HINT = "Name a directory that `egnas retrain` wrote."


@pinned()
def load_network(
    folder: str | os.PathLike, *, log: Callable[[str], Any] | None = None
) -> RetrainResult:
    """Reads the network of the newest valid checkpoint of a run directory.

    Args:
      folder: of a retraining with one seed.
      log: called with notes, such as a damaged checkpoint; None: the logger "egnas_jax"
        gets them as warnings.

    Raises:
      ValueError: the directory holds no retraining, no genotype or no valid checkpoint,
        or a file was altered.
    """
    folder = pathlib.Path(folder)
    _check_kind(folder)
    config, metadata = load_config(folder), load_metadata(folder)
    genotype = parse_genotype(config.genotype)
    _check_genotype(folder, genotype)
    restored = restore(folder)
    for note in restored.notes:
        (log or logging.getLogger("egnas_jax").warning)(
            f"{note} The one before is used."
        )
    variables = restored.tree.variables
    summary = folder / "summary.json"
    return RetrainResult(
        network=make_network(genotype, config.network),
        variables=variables,
        config=config,
        metadata=metadata,
        records=records.read(folder / "metrics.jsonl"),
        summary=records.read_object(summary, HINT) if summary.exists() else None,
        digest=checkpoint.digest(variables),
        folder=folder,
        notes=restored.notes,
    )


def load_config(folder: pathlib.Path) -> RetrainConfig:
    """The configuration of a retraining's run directory.

    Raises:
      ValueError: the directory holds no retraining.
    """
    return stored_config(folder, from_dict)


@pinned()
def restore(folder: pathlib.Path) -> checkpoint.Restored:
    """The newest valid checkpoint of a retraining; its tree is a `RetrainState`.

    Raises:
      ValueError: the directory holds no retraining or no valid checkpoint.
    """
    config, metadata = load_config(folder), load_metadata(folder)
    net = make_network(parse_genotype(config.genotype), config.network)

    def init() -> RetrainState:
        return initial_state(net, config, metadata.image_shape)

    try:
        return checkpoint.restore(folder / "checkpoints", jax.eval_shape(init))
    except checkpoint.NoCheckpointError as error:
        raise ValueError(f"{folder} holds no whole checkpoint. {error}") from None


def load_metadata(folder: pathlib.Path) -> Metadata:
    """The content of model.json.

    Raises:
      ValueError: the file is missing or was altered.
    """
    path = folder / "model.json"
    fields = records.read_object(path, HINT)
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    try:
        metadata = Metadata(**lists)
        is_valid = _is_valid(metadata)
    except (TypeError, AttributeError):  # other fields, or fields of another type
        is_valid = False
    if not is_valid:
        raise ValueError(f"{path} cannot be read: its fields were altered. {HINT}")
    return metadata


def _is_valid(metadata: Metadata) -> bool:
    """Whether the fields have the types and lengths of a trained network's."""
    shape, names = metadata.image_shape, metadata.class_names
    seconds = metadata.search_seconds
    numbers = (*metadata.mean, *metadata.std, *(() if seconds is None else (seconds,)))
    return (
        len(shape) == 3
        and all(type(side) is int and side > 0 for side in shape)
        and len(metadata.mean) == len(metadata.std) == shape[-1]
        and all(type(number) in (int, float) for number in numbers)
        and all(std > 0 for std in metadata.std)
        and (names is None or all(isinstance(name, str) for name in names))
    )


def _check_kind(folder: pathlib.Path) -> None:
    """Refuses a search, and a directory of several seeds."""
    if seeds := seed_folders(folder):
        raise ValueError(
            f"{folder} holds {len(seeds)} seeds. Name one of them: "
            f"{', '.join(map(str, seeds))}."
        )
    try:
        is_search = "supernet" in records.read_object(folder / "config.json")
    except ValueError:
        return  # `load_config` raises the better error
    if is_search:
        raise ValueError(
            f"{folder} is a search: it trained all candidates at once, not the network "
            f"of its genotype. Train that first: egnas retrain --genotype {folder}."
        )


def _check_genotype(folder: pathlib.Path, genotype: Genotype | Topology) -> None:
    """Refuses a directory whose genotype.json is missing or is not what was trained."""
    path = folder / "genotype.json"
    try:
        stored = genotype_from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no readable genotype.json ({error}). {HINT}"
        ) from None
    if stored != genotype:
        raise ValueError(
            f"{path} is not the genotype that {folder / 'config.json'} was trained "
            f"with. One of the two was altered; restore it."
        )


def seed_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The runs of a directory that `retrain --seeds N` wrote, by seed; else none."""
    if (folder / "config.json").exists():
        return []
    runs = [
        path.parent
        for path in folder.glob("seed*/config.json")
        if path.parent.name.removeprefix("seed").isdecimal()
    ]
    return sorted(runs, key=lambda run: int(run.name.removeprefix("seed")))
