"""Compares the settings of a sweep by the validation accuracy of their searches.

The accuracy is that of the supernet under the genotype's mixing. It ranks searches of
one supernet; what a cell is worth, its retraining tells.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egnas_jax.runs.search_result import SearchResult
from egnas_jax.storage import records
from egnas_jax.studies.statistics import LEVEL, Summary, compare_with, summarise
from egnas_jax.studies.tables import markdown_table

FILES = ("comparison.json", "comparison.md")


class SettingResult(NamedTuple):
    """What the searches of one setting found.

    Attributes:
      label: of the setting, "" for the only one.
      accuracies: seed -> validation accuracy, a fraction.
      runs: seed -> run directory, or None.
      failed: seeds of the searches that ended with an error.
      summary: mean, interval and n of the accuracies; None where all failed.
    """

    label: str
    accuracies: dict[int, float]
    runs: dict[int, pathlib.Path | None]
    failed: tuple[int, ...]
    summary: Summary | None


def compare_settings(
    labels: Sequence[str], seeds: Sequence[int], results: Sequence[SearchResult | None]
) -> list[SettingResult]:
    """Groups searches by their setting and summarises each group.

    Args:
      labels, seeds: of each search.
      results: of each search; None where it failed or has no epoch.

    Returns:
      One entry for each setting, in the order of the searches.
    """
    settings = []
    for label in dict.fromkeys(labels):
        group = [
            (seed, result)
            for each, seed, result in zip(labels, seeds, results, strict=True)
            if each == label
        ]
        ended = {seed: result for seed, result in group if result is not None}
        accuracies = {seed: result.valid_accuracy for seed, result in ended.items()}
        settings.append(
            SettingResult(
                label=label,
                accuracies=accuracies,
                runs={seed: result.folder for seed, result in ended.items()},
                failed=tuple(seed for seed, result in group if result is None),
                summary=summarise(list(accuracies.values())) if accuracies else None,
            )
        )
    return settings


def as_json(settings: Sequence[SettingResult]) -> dict:
    """Returns the content of comparison.json; accuracies are fractions.

    The differences are those of every later setting from the first one, paired by seed,
    with intervals that hold together (`statistics.compare_with`).
    """
    return {
        "metric": "valid_accuracy",
        "level": LEVEL,
        "settings": [_setting_as_json(setting) for setting in settings],
        "differences": [each._asdict() for each in _differences(settings).values()],
    }


def _setting_as_json(setting: SettingResult) -> dict:
    summary = setting.summary
    numbers = {} if summary is None else summary._asdict()
    return {
        "setting": setting.label,
        "n": len(setting.accuracies),
        **numbers,
        "seeds": {str(seed): value for seed, value in setting.accuracies.items()},
        "runs": {str(seed): str(run) for seed, run in setting.runs.items()},
        "failed": list(setting.failed),
    }


def _differences(settings: Sequence[SettingResult]) -> Mapping:
    """Label -> the comparison of a setting with the first one."""
    groups = {each.label: each.accuracies for each in settings if each.accuracies}
    if settings[0].label not in groups:
        return {}
    comparisons = compare_with(settings[0].label, groups)
    return {comparison.first: comparison for comparison in comparisons}


def as_table(settings: Sequence[SettingResult]) -> str:
    """Returns a table in Markdown: accuracies in percent, with 95 % intervals.

    An interval needs two seeds. The last column compares with the first setting over
    the seeds that both have.
    """
    differences = _differences(settings)
    header = "setting", "n", "valid. acc. / %", "95 % interval", "against the first"
    rows = []
    for each in settings:
        name = each.label.replace(",", ", ") or "all seeds"
        count = str(len(each.accuracies))
        if each.failed:
            count += f" ({len(each.failed)} failed)"
        summary, mean = each.summary, "–"
        interval = against = "–"
        if summary is not None:
            mean = f"{100 * summary.mean:.2f}"
            interval = _interval(summary.low, summary.high)
        if (comparison := differences.get(each.label)) is not None:
            bounds = _interval(comparison.low, comparison.high)
            against = f"{100 * comparison.difference:+.2f} {bounds}"
        rows.append((name, count, mean, interval, against))
    return markdown_table(header, rows)


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "–"
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def write_comparison(
    folder: pathlib.Path, settings: Sequence[SettingResult]
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes comparison.json and comparison.md; returns their paths.

    Args:
      folder: of all runs; it exists.
      settings: from `compare_settings`.
    """
    in_json, in_markdown = (folder / name for name in FILES)
    records.write_json(in_json, as_json(settings))
    records.write_text(in_markdown, as_table(settings))
    return in_json, in_markdown
