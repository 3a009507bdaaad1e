"""Runs methods side by side through the command line, and tabulates what they found.

What every search experiment shares. Finished runs are not repeated and interrupted ones
go on, so an experiment may be carried over any number of calls.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from egnas_jax import record
from egnas_jax.cli import main as egnas


class Found(NamedTuple):
    """One run: its method, seed, summary.json and lines of metrics.jsonl."""

    method: str
    seed: int
    summary: dict
    lines: list[dict]


def run_all(
    methods: Mapping[str, Sequence[str]], seeds: int, out: pathlib.Path
) -> Iterator[Found]:
    """Every method with every seed, in folders METHOD-SEED of `out`.

    Args:
      methods: name -> arguments of `egnas search`.
      seeds: runs of each method, from seed 0.
      out: folder of all runs.
    """
    for method, arguments in methods.items():
        for seed in range(seeds):
            folder = out / f"{method.replace(' ', '_').replace(',', '')}-{seed}"
            if not (folder / "summary.json").exists():
                more = ["--set", f"seed={seed}", "--out", str(folder)]
                resume = ["--resume"] if folder.exists() else []
                code = egnas(["search", *arguments, *more, *resume])
                if code:
                    raise SystemExit(code)
            summary = json.loads((folder / "summary.json").read_text())
            yield Found(method, seed, summary, record.read(folder / "metrics.jsonl"))


def table(found: Sequence[Found]) -> str:
    """A Markdown table, a row a run.

    Seconds are those of all epochs, compilation included; the first epoch's, which
    compiles, stand beside them.
    """
    rows = [
        "| method | seed | validation accuracy | first epoch | candidate images "
        "| seconds | of which epoch 1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, seed, summary, lines in found:
        images = sum(line.get("candidate_images", 0) for line in lines)
        rows.append(
            f"| {method} | {seed} | {100 * summary['valid_accuracy']:.1f} % "
            f"| {100 * summary['first_valid_accuracy']:.1f} % | {images:,.0f} "
            f"| {summary['seconds']:.0f} | {lines[0]['seconds']:.0f} |"
        )
    return "\n".join(rows) + "\n"


def curves(found: Sequence[Found], epochs: Sequence[int]) -> str:
    """Validation accuracy in percent after chosen epochs (counted from 1), Markdown."""
    rows = [
        "| method | seed | " + " | ".join(f"epoch {epoch}" for epoch in epochs) + " |",
        "|---" * (2 + len(epochs)) + "|",
    ]
    for method, seed, _, lines in found:
        values = [f"{100 * lines[epoch - 1]['valid_accuracy']:.1f}" for epoch in epochs]
        rows.append(f"| {method} | {seed} | {' | '.join(values)} |")
    return "\n".join(rows) + "\n"
