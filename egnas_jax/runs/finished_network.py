"""Loads the trained network of a retraining's run directory."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from egnas_jax.export import Finished
from egnas_jax.nn.network import Network, make_network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.retrain.step import RetrainState, initial_state
from egnas_jax.runs.directory import stored_config
from egnas_jax.runs.retrain_config import from_dict
from egnas_jax.space import Genotype, Topology, genotype_from_json, parse_genotype
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.jax_settings import pinned
from egnas_jax.types import PyTree

HINT = "Name a directory that `egnas retrain` wrote."


class Metadata(NamedTuple):
    """What a network needs besides its weights; the fields of model.json.

    Attributes:
      image_shape: [H, W, C].
      mean, std: of the channels, of pixels in [0, 1].
      class_names: one name per class, or None.
      search_seconds: duration of the search for the genotype, or None if unknown.
    """

    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None
    search_seconds: float | None

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the channels."""
        return self.mean, self.std


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RetrainResult:
    """A trained network and the records of its training.

    Attributes:
      network: as functions.
      variables: {"params", "batch_stats"}.
      config: of the training; `config.genotype` is the text of the genotype.
      metadata: the network's input, its classes, and the duration of the search.
      records: one per epoch, as in metrics.jsonl.
      summary: the content of summary.json, or None where a run was killed before it.
      digest: sha256 of the variables.
      folder: run directory, or None where nothing was written.
      notes: one sentence for each newer checkpoint that is damaged.
    """

    network: Network = dataclasses.field(repr=False)
    variables: PyTree = dataclasses.field(repr=False)
    config: RetrainConfig
    metadata: Metadata
    records: list[dict] = dataclasses.field(repr=False)
    summary: dict | None
    digest: str
    folder: pathlib.Path | None
    notes: tuple[str, ...] = ()

    @property
    def test_error_last(self) -> float | None:
        """Test error of the last evaluated epoch; None where none was evaluated."""
        errors = self._test_errors
        return errors[-1] if errors else None

    @property
    def test_error_best(self) -> float | None:
        """Least test error of all epochs. It is chosen by the test set: too good."""
        return min(self._test_errors, default=None)

    @property
    def _test_errors(self) -> list[float]:
        errors = [record.get("test_error") for record in self.records]
        return [error for error in errors if error is not None]

    @property
    def record(self) -> dict | None:
        """The record of these variables; None after an interruption within an epoch."""
        for record in reversed(self.records):
            if record.get("digest") == self.digest:
                return record
        return None

    @property
    def description(self) -> str:
        """Which epoch the network is of, in words."""
        if self.record is None:
            return "the network of an epoch that was interrupted"
        epoch = self.record["epoch"] + 1
        return f"the network of epoch {epoch} of {self.config.epochs}"

    @property
    def finished(self) -> Finished:
        """The part of it that is exported."""
        return Finished(
            genotype=self.network.genotype,
            config=self.network.config,
            variables=self.variables,
            image_shape=self.metadata.image_shape,
            mean=self.metadata.mean,
            std=self.metadata.std,
            class_names=self.metadata.class_names,
        )


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
