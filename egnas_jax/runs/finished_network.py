"""A network that a retraining left behind: what judging it and taking it away read."""

import json
import pathlib
from typing import NamedTuple

from egnas_jax.export import Finished
from egnas_jax.nn.network import Network, make_network
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.runs.retrain import Model, restore, stored, stored_model
from egnas_jax.space import Genotype
from egnas_jax.storage import checkpoint, records
from egnas_jax.types import PyTree


class Trained(NamedTuple):
    """The newest whole checkpoint of a run, as a network.

    Attributes:
      folder: run directory.
      config, model: what was trained, and on images of what kind.
      net, variables: the network and {"params", "batch_stats"}.
      digest: of the variables.
      line: the run's own record of them (metrics.jsonl), or None where it was
        interrupted within an epoch.
      notes: one sentence for each newer checkpoint that is damaged.
    """

    folder: pathlib.Path
    config: RetrainConfig
    model: Model
    net: Network
    variables: PyTree
    digest: str
    line: dict | None
    notes: tuple[str, ...]

    @property
    def finished(self) -> Finished:
        """What is exported of it."""
        model = self.model
        return Finished(
            self.net.genotype,
            self.net.config,
            self.variables,
            model.image_shape,
            model.mean,
            model.std,
            model.class_names,
        )

    @property
    def state(self) -> str:
        """Which network it is, in words."""
        if self.line is None:
            return "the network of an epoch that was interrupted"
        return f"the network of epoch {self.line['epoch'] + 1} of {self.config.epochs}"


def load(folder: pathlib.Path) -> Trained:
    """The network of a run directory.

    Raises:
      ValueError: it holds no retraining, no genotype or no whole checkpoint, or was
        altered.
    """
    _check_kind(folder)
    config, model = stored(folder), stored_model(folder)
    genotype = Genotype.parse(config.genotype)
    _check_genotype(folder, genotype)
    found = restore(folder)
    variables = found.tree.variables
    digest = checkpoint.digest(variables)
    lines = records.read(folder / "metrics.jsonl")
    own = [line for line in lines if line.get("digest") == digest]
    return Trained(
        folder,
        config,
        model,
        make_network(genotype, config.network),
        variables,
        digest,
        own[-1] if own else None,
        found.notes,
    )


def _check_kind(folder: pathlib.Path) -> None:
    """Refuses a search, and a directory of several seeds."""
    if seeds := seed_folders(folder):
        raise ValueError(
            f"{folder} holds {len(seeds)} seeds. Name one of them: "
            f"{', '.join(map(str, seeds))}."
        )
    try:
        is_search = "supernet" in json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, TypeError):
        return  # told by whoever reads it for its sake
    if is_search:
        raise ValueError(
            f"{folder} is a search: it trained all candidates at once, and not the "
            f"network that it found. Train that first: egnas retrain --genotype "
            f"{folder}."
        )


def _check_genotype(folder: pathlib.Path, genotype: Genotype) -> None:
    """Refuses a directory whose genotype is missing, or another than it trained."""
    path = folder / "genotype.json"
    try:
        written = Genotype.from_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no readable genotype.json ({error}). Name a directory as "
            f"`egnas retrain` left it."
        ) from None
    if written != genotype:
        raise ValueError(
            f"{path} is not the genotype that {folder / 'config.json'} was trained "
            f"with. One of the two was altered; restore it."
        )


def seed_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    """The runs of a directory that `retrain --seeds N` wrote, by seed; else none."""
    if (folder / "config.json").exists():
        return []
    found = [
        path.parent
        for path in folder.glob("seed*/config.json")
        if path.parent.name.removeprefix("seed").isdecimal()
    ]
    return sorted(found, key=lambda run: int(run.name.removeprefix("seed")))
