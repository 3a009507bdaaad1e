"""Describes the result of a retraining: the network, its input and its records."""

import dataclasses
import pathlib
from typing import NamedTuple

from egnas_jax.export import Finished
from egnas_jax.nn.network import Network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.types import PyTree


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
