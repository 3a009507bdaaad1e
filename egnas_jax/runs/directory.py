"""Claims the directory of a run for one process, and writes its first files.

config.json holds the configuration, restored.json the run that it started from,
environment.json what its metrics may depend on, plugins.json the plug-ins it needs.
"""

import contextlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from egnas_jax.runs.config_changes import changes
from egnas_jax.runs.environment import environment
from egnas_jax.runs.plugin_records import load_recorded, write_plugins
from egnas_jax.runs.plugins import Plugin
from egnas_jax.runs.search_config import from_dict
from egnas_jax.runs.unknown_settings import check_known
from egnas_jax.settings import as_dict, check_whole
from egnas_jax.storage import records
from egnas_jax.storage.lock import locked


def check_arguments(
    folder: pathlib.Path | None, *, resume: bool, stop_after: int | None
) -> None:
    """Refuses arguments of a run that do not fit together, before anything is loaded.

    Args:
      folder: run directory; None writes nothing.
      resume: whether the run may exist already.
      stop_after: epochs after which the run ends early, or None.

    Raises:
      ValueError: `stop_after` is no whole number from 1, there is no directory to
        resume, or the directory cannot hold the run (see `check_free`).
    """
    if stop_after is not None:
        check_whole("stop_after", stop_after, 1)
    if folder is not None:
        check_free(folder, resume=resume)
    elif resume:
        raise ValueError("resume needs a run directory. Name it by out.")


def check_free(folder: pathlib.Path, *, resume: bool) -> None:
    """Refuses a directory that holds a run which is not resumed, or other files.

    Hidden files are accepted: a run that was killed before its configuration was
    written may leave its lock.

    Raises:
      ValueError: the directory cannot hold the run.
    """
    if (folder / "config.json").exists():
        if not resume:
            raise ValueError(
                f"{folder} holds a run already. Add --resume to go on with it, or "
                f"name another --out."
            )
    elif folder.is_dir() and any(
        not path.name.startswith(".") for path in folder.iterdir()
    ):
        raise ValueError(f"{folder} is not empty and holds no run. Name another --out.")


def check_configuration(
    config: Any, folder: pathlib.Path, read: Callable[[dict], Any] = from_dict
) -> None:
    """Refuses to go on with a run of another configuration.

    Args:
      config: of the run that is to go on.
      folder: run directory.
      read: makes a configuration of what config.json holds.

    Raises:
      ValueError: the configurations differ, with the differences; or the stored one
        cannot be read.
    """
    if not (folder / "config.json").exists():
        return
    stored = stored_config(folder, read)
    if changed := changes(stored, config):
        raise ValueError(
            f"{folder} holds a run of another configuration: {'; '.join(changed)}. Use "
            f"its settings or another --out.{_epochs_advice(stored, config, folder)}"
        )


def _epochs_advice(stored: Any, config: Any, folder: pathlib.Path) -> str:
    """What leads to another number of epochs; "" where it is the same."""
    if config.epochs == stored.epochs:
        return ""
    if config.epochs < stored.epochs:
        return f" To end after epoch {config.epochs}: --stop-after {config.epochs}."
    return (
        f" For more epochs, start a new run from the state of this one: --restore "
        f"{folder} --set epochs={config.epochs} --out NEW."
    )


@contextlib.contextmanager
def claim(
    config: Any,
    folder: pathlib.Path,
    origin: dict | None = None,
    mesh: dict | None = None,
    *,
    resume: bool,
    trains: bool = True,
    plugins: Iterable[Plugin] = (),
    batch: dict | None = None,
    log: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Makes the directory of a run, and keeps other processes from writing to it.

    Args:
      config: becomes config.json.
      folder: run directory.
      origin: becomes restored.json: what is known of the run that it started from.
      mesh: what environment.json says of the devices (`training.devices.describe`).
      resume: whether the directory may hold the run already. If not, that is checked
        again, since another process may have written it while the data were loaded.
      trains: whether an epoch is left to run; environment.json describes the process
        that ran the last one.
      plugins: plug-ins that the run depends on, besides those that its configuration
        names.
      batch: what environment.json says of the batch that computes the run, see
        `environment`.
      log: called with notes about the lock; None: the logger "egnas_jax" gets them.

    Raises:
      ValueError: it cannot be written, or another process is writing to it.
    """
    log = log or logging.getLogger("egnas_jax").warning
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, log))
        except OSError as error:
            raise records.unwritable(folder, error) from None
        if not resume:
            check_free(folder, resume=False)
        try:
            records.write_json(folder / "config.json", as_dict(config))
            if trains or not (folder / "plugins.json").exists():
                write_plugins(folder, config, plugins)
            if origin:
                records.write_json(folder / "restored.json", origin)
            if trains or not (folder / "environment.json").exists():
                records.write_json(
                    folder / "environment.json", environment(mesh, batch)
                )
        except OSError as error:
            raise records.unwritable(folder, error) from None
        yield


def stored_config(folder: pathlib.Path, read: Callable[[dict], Any] = from_dict) -> Any:
    """Reads the configuration of a run directory; loads the plug-ins of the run first.

    Args:
      folder: run directory.
      read: makes a configuration of what config.json holds; by default of a search.

    Raises:
      ValueError: it holds no such run, several or one of a later version; or a plug-in
        of the run is missing or has changed.
    """
    load_recorded(folder)
    path = folder / "config.json"
    if not path.exists() and (below := _runs_below(folder)):
        raise ValueError(
            f"{str(folder)!r} is the directory of several runs, and not one of them. "
            f"Name one: {', '.join(below)}."
        )
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _no_run(folder, f"{path.name} cannot be read, {_named(error)}") from None
    check_known(stored, path)
    if read is from_dict and isinstance(stored, dict) and "genotype" in stored:
        raise ValueError(
            f"{str(folder)!r} is a retraining, and a search is needed here. Name the "
            f"directory of a search."
        )
    try:
        return read(stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_run(
            folder, f"{path.name} is not of that kind, {_named(error)}"
        ) from None


def _runs_below(folder: pathlib.Path) -> list[str]:
    """The first directories of runs below a common one, one or two levels down."""
    configs = [*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]
    names = [str(path.parent) for path in sorted(configs)]
    return [*names[:5], "..."] if len(names) > 5 else names


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _no_run(folder: pathlib.Path, reason: str) -> ValueError:
    return ValueError(
        f"{str(folder)!r} holds no run ({reason}). Name a directory that `egnas "
        f"search` or `egnas retrain` wrote."
    )
