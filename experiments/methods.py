"""Runs methods side by side through the command line, and tabulates what they found.

What the experiments share. Finished runs are not repeated and interrupted ones
go on, so an experiment may be carried over any number of calls.
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.cli.main import main as egnas
from egnas_jax.nn.cost import count_params
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.space import SPACES, Genotype, derive
from egnas_jax.storage import records
from egnas_jax.strategies.random_search import random_child
from egnas_jax.studies.statistics import compare, summarise


class Found(NamedTuple):
    """One run: its method, seed, summary.json and lines of metrics.jsonl."""

    method: str
    seed: int
    summary: dict
    lines: list[dict]


def run_one(
    arguments: Sequence[str], folder: pathlib.Path, command: str = "search"
) -> tuple[dict, list[dict]]:
    """A run of `egnas` in its folder, unless the same one is finished there.

    Args:
      arguments: of the command.
      folder: of the run.
      command: "search" or "retrain".

    Returns:
      Its summary.json and lines of metrics.jsonl.

    Raises:
      SystemExit: as `once` has it.
    """
    once([command, *arguments], folder, "summary.json", resume=True)
    summary = json.loads((folder / "summary.json").read_text())
    return summary, records.read(folder / "metrics.jsonl")


def once(
    command: Sequence[str], folder: pathlib.Path, made: str, *, resume: bool
) -> None:
    """Runs `egnas` into a folder, unless the same command has made a file there.

    Args:
      command: without --out.
      folder: for --out; `.COMMAND.json` there says what has been run.
      made: name of the file.
      resume: whether what was begun there goes on.

    Raises:
      SystemExit: it failed, with its code; or another command made the file.
    """
    if made_by(command, folder, made):
        return
    more = ["--resume"] if resume and folder.exists() else []
    code = egnas([*command, "--out", str(folder), *more])
    if code:
        raise SystemExit(code)
    note(command, folder)


def made_by(command: Sequence[str], folder: pathlib.Path, made: str) -> bool:
    """Whether a command has made a file in a folder, and ended there.

    Raises:
      SystemExit: another command has.
    """
    noted = _note(command, folder)
    if not ((folder / made).exists() and noted.exists()):
        return False
    if json.loads(noted.read_text()) == list(command):
        return True
    raise SystemExit(
        f"{folder} holds what another command made, of another size or other "
        f"settings. Name another --out."
    )


def note(command: Sequence[str], folder: pathlib.Path) -> None:
    """Leaves word that a command has ended in a folder."""
    records.write_json(_note(command, folder), list(command))


def _note(command, folder) -> pathlib.Path:
    return folder / f".{command[0]}.json"


def run_all(
    methods: Mapping[str, Sequence[str]],
    seeds: int,
    out: pathlib.Path,
    command: str = "search",
) -> Iterator[Found]:
    """Every method with every seed, in folders METHOD-SEED of `out`.

    Args:
      methods: name -> arguments of the command.
      seeds: runs of each method, from seed 0.
      out: folder of all runs.
      command: of `egnas`; "search" or "retrain".
    """
    for method, arguments in methods.items():
        for seed in range(seeds):
            own = [*arguments, "--set", f"seed={seed}"]
            done = run_one(own, out / f"{folder_name(method)}-{seed}", command)
            yield Found(method, seed, *done)


def folder_name(method: str) -> str:
    """A method's name without what a path should not hold."""
    return method.replace(" ", "_").replace(",", "")


def searches(found: Sequence[Found], shown: Sequence[int]) -> dict:
    """Columns, rows and seconds of a record: what searches came to, a row a method.

    Args:
      found: runs of `egnas search`.
      shown: epochs, counted from 1, after which accuracies are shown.
    """
    rows = []
    for method in dict.fromkeys(one.method for one in found):
        own = [one for one in found if one.method == method]
        after = [
            statistics.fmean(one.lines[epoch - 1]["valid_accuracy"] for one in own)
            for epoch in shown
        ]
        images = [
            sum(line.get("candidate_images", 0) for line in one.lines) for one in own
        ]
        rows.append(
            [
                method,
                cell([one.summary["valid_accuracy"] for one in own], 100),
                ", ".join(f"{100 * value:.1f}" for value in after),
                statistics.fmean(images),
                sum(one.summary["seconds"] for one in own),
            ]
        )
    curve = f"after epochs {', '.join(map(str, shown))}"
    return {
        "columns": [
            "method",
            column("valid. accuracy (%)", 1),
            curve,
            column("candidate images", 0),
            column("seconds of all seeds", 0),
        ],
        "rows": rows,
        "seconds": sum(row[-1] for row in rows),
    }


def genotypes(found: Sequence[Found]) -> dict[str, str]:
    """What each run found."""
    return {f"{one.method}, seed {one.seed}": one.summary["genotype"] for one in found}


def random_genotype(seed: int) -> Genotype:
    """A cell drawn as random search draws its children."""
    space = SPACES["darts7"]
    mixing = random_child(jax.random.key(seed), space)
    return derive(space, jax.tree.map(np.asarray, mixing))


def equal_channels(
    genotype: Genotype, network: NetworkConfig, image_channels: int, target: int
) -> int:
    """Channels of the first cell that bring a network nearest to `target` weights.

    Args:
      genotype: the cells.
      network: everything else about it.
      image_channels: of the images.
      target: weights.
    """

    def distance(channels):
        config = dataclasses.replace(network, channels=channels)
        weights = count_params(genotype, config, image_channels=image_channels)
        return abs(weights - target)

    return min(range(2, 257), key=distance)


def cell(values: Sequence[float], scale: float = 1.0) -> dict:
    """Mean, spread and number over seeds, as a record has them (see results.py)."""
    found = summarise([scale * value for value in values])
    return {"mean": found.mean, "spread": found.spread, "n": found.n}


def p_value(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Of a paired t test over seeds; None where it is not defined."""
    groups = {"values": dict(enumerate(values)), "others": dict(enumerate(others))}
    (comparison,) = compare(groups)
    return comparison.t_test


def interval(
    values: Sequence[float], scale: float = 1.0, confidence: float = 0.95
) -> str:
    """The interval of the mean, as a table has it."""
    found = summarise([scale * value for value in values], confidence)
    if found.low is None:
        return "one seed"
    return f"{found.low:.2f} to {found.high:.2f}"


def verdict(differences: Sequence[float], confidence: float = 0.95) -> str:
    """What the interval of (method - random cells) of test errors allows to say."""
    found = summarise(list(differences), confidence)
    if found.low is None:
        return "one seed: nothing can be said"
    if found.high < 0:
        return "better than random cells"
    if found.low > 0:
        return "worse than random cells"
    return "not told apart from random cells"


def column(name: str, decimals: int = 2) -> dict:
    return {"name": name, "decimals": decimals}


def errors(found: Sequence[Found], channels: Mapping[str, int]) -> dict:
    """Columns, rows and seconds of a record: test errors of trained cells.

    Args:
      found: runs of `egnas retrain`.
      channels: of each method.
    """
    rows = []
    for method in dict.fromkeys(one.method for one in found):
        own = [one.summary for one in found if one.method == method]
        values = [100 * summary["test_error_last"] for summary in own]
        rows.append(
            [
                method,
                channels[method],
                own[0]["params"],
                ", ".join(f"{value:.2f}" for value in values),
                cell(values),
                sum(summary["seconds"] for summary in own),
            ]
        )
    return {
        "columns": [
            "cell",
            {"name": "channels", "decimals": 0},
            {"name": "weights", "decimals": 0},
            "of each seed (%)",
            "test error (%)",
            {"name": "seconds", "decimals": 0},
        ],
        "rows": rows,
        "seconds": sum(row[-1] for row in rows),
    }


def counted(text: str) -> int:
    """A number of the command line that is at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def unseeded(text: str) -> str:
    """A setting of the command line, which --seeds does not make itself."""
    if text.partition("=")[0] == "seed":
        raise argparse.ArgumentTypeError("seeds are counted by --seeds, from 0")
    return text


def absolute(text: str) -> pathlib.Path:
    """A path of the command line, the same from wherever it is called."""
    return pathlib.Path(text).absolute()


def add_out(parser: argparse.ArgumentParser) -> None:
    """The options that say where an experiment writes."""
    parser.add_argument(
        "--record",
        action="store_true",
        help="also write experiments/results, for README",
    )
    parser.add_argument("--out", type=absolute, required=True)
