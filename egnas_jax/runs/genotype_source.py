"""Reads the genotype that a name, a text, a file or a run directory stands for.

Every command and function that is given a genotype by a user reads it here.
"""

import difflib
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from egnas_jax.lookup import listed
from egnas_jax.runs.plugin_records import load_recorded
from egnas_jax.runs.plugins import Plugin
from egnas_jax.space import SPACES, Genotype, Topology, zoo
from egnas_jax.space.genotype_forms import last_span
from egnas_jax.space.genotype_search import holds_genotype, last_genotype
from egnas_jax.space.reading import GENOTYPES
from egnas_jax.storage import records
from egnas_jax.strategies.labels import caption_of

Source = Genotype | Topology | str | os.PathLike

FORMS = (
    "A genotype is written as Genotype(normal=[('sep_conv_3x3', 1), ...], "
    "normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6)), as JSON with "
    "these fields, or as a cell of stages, |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, such "
    "as those of NAS-Bench-201."
)
# What stands after a genotype that is part of a path: `/...`, `.json`, ` (2).json`.
REST_OF_PATH = re.compile(r"/.*|(?:[^\s/]*| ?\(\d+\))\.\w+")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal
BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_genotype(
    source: Source, *, log: Callable[[str], Any] | None = None
) -> Genotype | Topology:
    """Reads a genotype by any of its names.

    Args:
      source: a genotype; the name of a published one; a text that holds one; a file
        that holds one (genotype.json, summary.json, a log, what `egnas derive` printed,
        genotypes.py, a drawing); or a run directory. Where a text or a file holds
        several, the last one counts.
      log: called with a note where several were found, or where the text of a cell of
        stages lacks edges; None: the logger "egnas_jax" gets it as a warning.

    Raises:
      ValueError: there is no such file, directory or name; a file or a text holds no
        genotype; its genotype is invalid; or a plug-in of its run is missing or has
        changed. Nothing in a text is evaluated.
    """
    if isinstance(source, GENOTYPES):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"{str(source)[:80]!r} is no genotype. Give a Genotype, the name of a "
            f"published one, a text, a file or a run directory. {FORMS}"
        )
    log = log or logging.getLogger("egnas_jax").warning
    path = existing_path(source)
    if path is not None:
        plugins_of(path)  # whose primitives the genotype may name
        genotype = _in_file(_file_of(path), log)
        return genotype if path.is_dir() else _noted(genotype, str(path), log)
    text = os.fspath(source)
    is_text = isinstance(source, str) and not _is_path_with_genotype(text)
    if is_text and holds_genotype(text):
        return _noted(_in_text(text, "The text", log), "The text", log)
    if text in zoo:
        return zoo[text].genotype
    raise ValueError(_what_is_missing(text))


def caption_of_source(source: Source) -> str | None:
    """The caption of a drawing of a run's cell; None where it needs none.

    Args:
      source: see `read_genotype`.

    Raises:
      ValueError: the source is a run directory whose config.json is no JSON object.
    """
    path = None if isinstance(source, GENOTYPES) else existing_path(source)
    if path is None or not (path / "config.json").is_file():
        return None
    config = records.read_object(path / "config.json", "Restore it.")
    supernet = config.get("supernet")
    if not isinstance(supernet, dict):
        return None  # a retraining
    return caption_of(config.get("strategy_name"), supernet.get("space"))


def plugins_of(source: Source) -> tuple[Plugin, ...]:
    """The plug-ins of the run that a source is, or lies in; they are loaded.

    Args:
      source: see `read_genotype`.

    Raises:
      ValueError: a plug-in is missing or has changed.
    """
    path = existing_path(source)
    if path is None:
        return ()
    return load_recorded(path if path.is_dir() else path.parent)


def stages_of_run(source: Source) -> str | None:
    """The stages of the network in the run that a source is, or lies in.

    Args:
      source: see `read_genotype`; the plug-ins of its run are loaded.

    Returns:
      Those of the space of a search, or of the network of a retraining; None where the
      source is no run, or has no list of stages.

    Raises:
      ValueError: the configuration of the run cannot be read.
    """
    path = existing_path(source)
    if path is None:
        return None
    file = (path if path.is_dir() else path.parent) / "config.json"
    if not file.is_file():
        return None
    config = records.read_object(file)
    space = SPACES.get(config.get("supernet", {}).get("space"))
    return space.stages if space else config.get("network", {}).get("stages")


def existing_path(source: Source) -> pathlib.Path | None:
    """The file or directory that a source names, `~` expanded; None for all else."""
    if not isinstance(source, str | os.PathLike) or os.fspath(source) == "":
        return None
    expanded = os.path.expanduser(source)
    return pathlib.Path(expanded) if os.path.exists(expanded) else None


def _file_of(path: pathlib.Path) -> pathlib.Path:
    """The file itself, or the genotype.json of a run directory."""
    if not path.is_dir():
        return path
    file = path / "genotype.json"
    if file.is_file():
        return file
    runs = sorted(each.parent for each in path.glob("*/genotype.json"))
    if runs:
        raise ValueError(
            f"{str(path)!r} holds no genotype.json, but {len(runs)} runs that do. Name "
            f"one of them: {listed(runs)}."
        )
    hint = ""
    if (path / "metrics.jsonl").is_file():
        hint = f" The cell of its last epoch so far is in {path / 'metrics.jsonl'}."
    raise ValueError(
        f"{str(path)!r} holds no genotype.json. Name a run directory whose search has "
        f"ended.{hint}"
    )


def _in_file(path: pathlib.Path, log: Callable[[str], Any]) -> Genotype | Topology:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from None
    encoding = BOMS.get(content[:2]) or BOMS.get(content[:3]) or "utf-8"
    text = COLOURS.sub("", content.decode(encoding, errors="replace"))
    if "\0" in text:
        raise ValueError(
            f"{path} is no text file, and a genotype is read from text. {FORMS}"
        )
    return _in_text(text, str(path), log)


def _in_text(text: str, name: str, log: Callable[[str], Any]) -> Genotype | Topology:
    """The last genotype of a text that messages call `name`."""
    try:
        match = last_genotype(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if match is None:
        raise ValueError(f"{name} holds no genotype. {FORMS}")
    if match.count > 1:
        log(
            f"{name} holds {match.count} genotypes. The last one counts: "
            f"{match.genotype.format()}"
        )
    return match.genotype


def _noted(genotype: Genotype | Topology, name: str, log: Callable) -> Any:
    """The genotype; a note names edges that its text may have lost."""
    if lacking := genotype.lacking_edges:
        log(
            f"{name}: the cell lacks the edges {listed(lacking)} (source, "
            f"target). If its text was cut off, give the whole text."
        )
    return genotype


def _what_is_missing(text: str) -> str:
    """What a source is not: a path that exists, or the name of a genotype."""
    if not text.strip():
        return f"The genotype is empty. Give a name, a file or a run directory. {FORMS}"
    shown = repr(text if len(text) <= 80 else f"{text[:77]}...")
    is_path = _looks_like_a_path(text)
    if not is_path and any(character in text for character in "[]{}|='\"\n"):
        return f"Not a genotype: {shown}. {FORMS}"
    path = pathlib.Path(os.path.expanduser(text))
    parent = next(each for each in path.absolute().parents if os.path.exists(each))
    try:
        beside = [each.name for each in parent.iterdir()]
    except OSError:
        beside = []
    if is_path:
        inside = [] if parent != path.absolute().parent else _close(path.name, beside)
        hint = [str(path.parent / name) for name in inside]
        return (
            f"{shown} does not exist: {parent} is there, but holds no "
            f"{path.absolute().relative_to(parent).parts[0]!r}.{_did_you_mean(hint)} "
            f"Name a file that holds a genotype, or a run directory."
        )
    hint = [*_close(text, zoo), *_close(text, beside)]
    return (
        f"{shown} is no file or directory here, and no published genotype."
        f"{_did_you_mean(hint)} Give a file that holds a genotype, a run directory, "
        f"the text of a genotype, or a name that `egnas list zoo` prints."
    )


def _is_path_with_genotype(text: str) -> bool:
    """Whether a text is a path, one of whose names is a written genotype.

    A cell between bars and `Genotype(...)` are valid names of files.
    """
    span = None if "\n" in text else last_span(text)
    if span is None:
        return False
    before, after = text[: span.start], text[span.stop :]
    return before.endswith("/") or REST_OF_PATH.fullmatch(after) is not None


def _looks_like_a_path(text: str) -> bool:
    if "\n" in text:
        return False
    if "/" in text or "\\" in text or text.startswith(("~", ".")):
        return True
    return re.search(r"\.\w+$", text) is not None


def _close(name: str, names: Iterable[str]) -> list[str]:
    """Names that are close to another one, whatever their case."""
    folded = {each.casefold(): each for each in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=3)
    return [folded[each] for each in close]


def _did_you_mean(names: list[str]) -> str:
    return f" Did you mean {', '.join(names)}?" if names else ""
