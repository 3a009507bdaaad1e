"""The commands that judge a trained network and take it away: `egnas evaluate`,
`egnas export`."""

import argparse
import json
import pathlib

from egnas_jax.cli.console import (
    check_folders,
    check_writable,
    running,
    say,
    use_compilation_cache,
)


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas evaluate` takes."""
    add = parser.add_argument
    add("run", metavar="RUN", help="what `egnas retrain` wrote, one seed or several")
    add("--data-dir", help="the only place to look for the data set")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="data.path=FILE.npz: other data of the same classes",
    )
    add(
        "--out",
        metavar="DIR",
        help="where evaluation.json and .svg go (default: into RUN)",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else")


def evaluate(options: argparse.Namespace) -> None:
    """Judges the network of each seed on the test set."""
    from egnas_jax.retrain.figure import draw_evaluation
    from egnas_jax.runs import finished_network
    from egnas_jax.storage import records
    from egnas_jax.studies import test_error

    check_folders(options, ("out", "data_dir"))
    folder = pathlib.Path(options.run)
    seeds = finished_network.seed_folders(folder)
    out = folder if options.out is None else pathlib.Path(options.out)
    jobs = []
    for run in seeds or [folder]:  # everything is checked before anything is written
        found = finished_network.load(run)
        settings = test_error.settings(found.config, options.overrides)
        settings, data = test_error.load_data(found, settings, options.data_dir)
        jobs.append((found, settings, data, out / run.name if seeds else out))
    check_writable(out)
    use_compilation_cache()
    results = []
    for found, settings, data, place in jobs:
        for note in found.notes:
            say(f"{note} The one before is judged.")
        with running():
            results.append(records.plain(test_error.judge(found, settings, data)))
        _warn(results[-1], found)
        place.mkdir(parents=True, exist_ok=True)
        records.write_json(place / "evaluation.json", results[-1])
        records.write_text(place / "evaluation.svg", draw_evaluation(results[-1]))
        if not options.json:
            _show(results[-1], found, place)
    whole = test_error.aggregate(results) if seeds else results[0]
    if seeds:
        records.write_json(out / "evaluation.json", whole)
    if options.json:
        print(json.dumps(whole))
    elif seeds:
        spread = whole["test_error_spread"]
        shown = "" if spread is None else f" ± {100 * spread:.2f}"
        print(
            f"Mean test error {100 * whole['test_error']:.2f}{shown} %, top-5 "
            f"accuracy {100 * whole['test_accuracy_top5']:.2f} %."
        )


def _warn(result: dict, found) -> None:
    recorded = result["recorded_test_error"]
    if recorded not in (None, result["test_error"]):
        say(
            f"{found.folder} recorded a test error of {100 * recorded:.4f} % for this "
            f"network, and {100 * result['test_error']:.4f} % came out. Another device "
            f"or version of jax rounds otherwise; else the test images changed."
        )


def _show(result: dict, found, place: pathlib.Path) -> None:
    print(
        f"Test error {100 * result['test_error']:.2f} % ({result['errors']} of "
        f"{result['n']}), top-5 accuracy {100 * result['test_accuracy_top5']:.2f} %, "
        f"calibration error (ECE) {100 * result['ece']:.2f} %: {found.state} in "
        f"{found.folder}, the last that it kept."
    )
    print(f"Figures: {place}/evaluation.json\nPicture: {place}/evaluation.svg")


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """What `egnas export` takes."""
    add = parser.add_argument
    add("run", metavar="RUN", help="what `egnas retrain` wrote, one seed")
    add("--format", required=True, metavar="NAME", help="safetensors, stablehlo, onnx")
    add("--out", metavar="FILE", help="(default: RUN/network.FORMAT)")


def export(options: argparse.Namespace) -> None:
    """Writes the network of a run in a form that runs without this package."""
    from egnas_jax.export import FORMATS, check_installed, describe
    from egnas_jax.runs import finished_network
    from egnas_jax.storage import records

    check_installed(options.format)
    form = FORMATS[options.format]
    out = pathlib.Path(options.out or f"{options.run}/network.{options.format}")
    if out.is_dir() or options.out == "":
        raise ValueError(f"--out is {options.out!r}, but must name a file.")
    found = finished_network.load(pathlib.Path(options.run))
    check_writable(out.parent)
    for note in found.notes:
        say(f"{note} The one before is exported.")
    with running():
        content = form.write(found.finished)
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_bytes(out, content)
    print(f"{out}: {found.state}, {len(content):,} bytes")
    if not form.described:
        aside = out.with_name(f"{out.name}.json")
        records.write_json(aside, describe(found.finished))
        print(f"{aside}: what it takes and gives")
