"""Names the directories of several runs by what differs between them."""

import os
import pathlib
from collections.abc import Sequence

from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.runs.batchable import OF_THE_RUN
from egnas_jax.runs.search_config import SearchConfig
from egnas_jax.runs.sweep_configs import setting_label
from egnas_jax.settings import as_dict, flat

Config = SearchConfig | RetrainConfig
LONGEST = 255  # bytes of a file's name on the file systems of Linux
SHORTER = (
    "Runs are named by the settings in which they differ: vary fewer at once, or from "
    "Python give each run a directory, out=[DIR, ...]."
)


def run_names(configs: Sequence[Config]) -> list[str]:
    """Returns the directory of each run below the common one.

    Names are seedN, in a directory for each combination of the other settings in which
    the runs differ, such as strategy.eta=0.2,strategy.zeta=1.0/seed0.
    """
    return [
        "/".join(filter(None, (label, f"seed{config.seed}")))
        for label, config in zip(setting_labels(configs), configs, strict=True)
    ]


def setting_labels(configs: Sequence[Config]) -> list[str]:
    """Returns the settings of each run that differ between them, except the seed.

    Settings of a search method are compared only with other runs of that method.
    Characters that a file name may not have are written as in a URL.
    """
    settings = [dict(flat(as_dict(config))) for config in configs]
    methods = [each.get("strategy_name") for each in settings]
    paths = dict.fromkeys(path for each in settings for path in each)
    varied: dict[str | None, list[str]] = {method: [] for method in methods}
    for path in [each for each in paths if each not in ("seed", *OF_THE_RUN)]:
        values: dict[str | None, set[str]] = {method: set() for method in methods}
        for method, each in zip(methods, settings, strict=True):
            values[method].add(repr(each.get(path)))
        if not path.startswith("strategy."):
            values = dict.fromkeys(methods, set().union(*values.values()))
        for method, texts in values.items():
            if len(texts) > 1:
                varied[method].append(path)
    return [
        setting_label(config, varied[method])
        for config, method in zip(configs, methods, strict=True)
    ]


def check_name(name: str, hint: str) -> None:
    """Refuses the name of a run's directory that file systems cannot hold.

    Args:
      name: parts with slashes between them.
      hint: how to make it shorter, a sentence.

    Raises:
      ValueError: a part is longer than `LONGEST` bytes.
    """
    longest = max(name.split("/"), key=lambda part: len(part.encode()))
    if len(longest.encode()) > LONGEST:
        raise ValueError(
            f"The name of a directory may have {LONGEST} bytes, and that of a run has "
            f"{len(longest.encode())}: {longest[:80]}... {hint}"
        )


def folders_of(
    configs: Sequence[Config],
    out: str | pathlib.Path | Sequence[str | pathlib.Path] | None,
) -> tuple[pathlib.Path | None, ...]:
    """Returns the run directory of each run.

    Args:
      configs: of the runs.
      out: directory for those that `run_names` names; or one of each run; or None,
        which writes nothing.

    Raises:
      ValueError: there is no run, two of them have the same directory, or the name of
        one would be too long.
    """
    if not configs:
        raise ValueError("There is no configuration to run. Give at least one.")
    if out is None:
        return (None,) * len(configs)
    if not isinstance(out, (str, pathlib.Path)):
        folders = one_path_each(out, len(configs), "out")
    elif (pathlib.Path(out) / "config.json").exists():
        raise ValueError(
            f"{out} is the directory of a run, and cannot hold those of several. Name "
            f"another --out."
        )
    else:
        names = run_names(configs)
        for name in names:
            check_name(name, SHORTER)
        folders = tuple(pathlib.Path(out) / name for name in names)
    places = [folder and folder.resolve() for folder in folders]
    for index, folder in enumerate(folders):
        if (first := places.index(places[index])) < index:
            raise ValueError(
                f"Runs {first + 1} and {index + 1} have the same directory, "
                f"{folder}. Give each another seed, another setting or another "
                f"directory."
            )
    return folders


def one_path_each(
    paths: Sequence[str | os.PathLike | None] | None, count: int, name: str
) -> tuple[pathlib.Path | None, ...]:
    """Returns a path for each run, or None for each.

    Args:
      paths: of the runs; None where there are none.
      count: of the runs.
      name: of the argument.

    Raises:
      ValueError: there are more or fewer paths than runs.
    """
    if paths is None:
        return (None,) * count
    if len(paths) != count:
        raise ValueError(
            f"{name} has {len(paths)} entries for {count} configurations. Give one for "
            f"each."
        )
    return tuple(None if path is None else pathlib.Path(path) for path in paths)
