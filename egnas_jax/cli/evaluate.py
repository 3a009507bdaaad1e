"""Evaluates and exports trained networks: `egnas evaluate` and `egnas export`."""

import argparse
import json
import pathlib

from egnas_jax.cli.console import (
    check_folders,
    check_run,
    check_writable,
    say,
    use_compilation_cache,
)


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas evaluate`."""
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
    """Evaluates the network of each seed on the test set."""
    check_run(options.run)
    check_folders(options, ("out", "data_dir"))
    from egnas_jax.runs.finished_network import seed_folders

    folder = pathlib.Path(options.run)
    out = folder if options.out is None else pathlib.Path(options.out)
    seeds = seed_folders(folder)
    # every run is loaded and checked before anything is written
    loaded = [_load(options, run) for run in seeds or [folder]]
    check_writable(out)
    use_compilation_cache()
    results = [
        _evaluate(options, trained, data, out / trained.folder.name if seeds else out)
        for trained, data in loaded
    ]
    _finish(options, results, out if seeds else None)


def _load(options, run: pathlib.Path):
    """The network of a run, and the data to evaluate it on."""
    from egnas_jax.runs.finished_network import load_network
    from egnas_jax.studies import test_error

    trained = load_network(run, log=say)
    config = test_error.evaluation_config(trained.config, options.overrides)
    return trained, test_error.load_data(trained, config, options.data_dir)


def _evaluate(options, trained, data, out: pathlib.Path) -> dict:
    """Evaluates one network and writes the result as JSON and as a figure."""
    from egnas_jax.retrain.figure import draw_evaluation
    from egnas_jax.runs.failures import running
    from egnas_jax.storage import records
    from egnas_jax.studies import test_error

    with running():
        result = records.plain(test_error.evaluate_network(trained, data))
    _warn_of_difference(result, trained)
    out.mkdir(parents=True, exist_ok=True)
    records.write_json(out / "evaluation.json", result)
    records.write_text(out / "evaluation.svg", draw_evaluation(result))
    if not options.json:
        _show(result, trained, out)
    return result


def _warn_of_difference(result: dict, trained) -> None:
    recorded = result["recorded_test_error"]
    if recorded not in (None, result["test_error"]):
        say(
            f"{trained.folder} recorded a test error of {100 * recorded:.4f} % for "
            f"this network, and the evaluation gave {100 * result['test_error']:.4f} "
            f"%. Another device or version of jax rounds differently; otherwise the "
            f"test images changed."
        )


def _show(result: dict, trained, out: pathlib.Path) -> None:
    print(
        f"Test error {100 * result['test_error']:.2f} % ({result['errors']} of "
        f"{result['n']}), top-5 accuracy {100 * result['test_accuracy_top5']:.2f} %, "
        f"calibration error (ECE) {100 * result['ece']:.2f} %: {trained.description} "
        f"in {trained.folder}, from its newest checkpoint."
    )
    print(f"Metrics: {out}/evaluation.json\nFigure: {out}/evaluation.svg")


def _finish(options, results: list[dict], table_folder: pathlib.Path | None) -> None:
    """Prints the result as JSON, and the means over several seeds."""
    from egnas_jax.storage import records
    from egnas_jax.studies import test_error

    result = results[0]
    if table_folder is not None:
        result = test_error.aggregate(results)
        records.write_json(table_folder / "evaluation.json", result)
    if options.json:
        print(json.dumps(result))
    elif table_folder is not None:
        spread = result["test_error_spread"]
        deviation = "" if spread is None else f" ± {100 * spread:.2f}"
        print(
            f"Mean test error {100 * result['test_error']:.2f}{deviation} %, top-5 "
            f"accuracy {100 * result['test_accuracy_top5']:.2f} %."
        )


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas export`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="what `egnas retrain` wrote, one seed")
    add("--format", required=True, metavar="NAME", help="safetensors, stablehlo, onnx")
    add("--out", metavar="FILE", help="(default: RUN/network.FORMAT)")


def export(options: argparse.Namespace) -> None:
    """Writes the network of a run in a form that runs without this package."""
    check_run(options.run)
    from egnas_jax.export import FORMATS, check_installed, describe
    from egnas_jax.runs.failures import running
    from egnas_jax.runs.finished_network import load_network
    from egnas_jax.storage import records

    check_installed(options.format)
    form = FORMATS[options.format]
    out = pathlib.Path(options.out or f"{options.run}/network.{options.format}")
    if out.is_dir() or options.out == "":
        raise ValueError(f"--out is {options.out!r}, but must name a file.")
    trained = load_network(options.run, log=say)
    form.check(trained.finished)
    check_writable(out.parent)
    with running():
        content = form.write(trained.finished)
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_bytes(out, content)
    print(f"{out}: {trained.description}, {len(content):,} bytes")
    if not form.described:
        sidecar = out.with_name(f"{out.name}.json")
        records.write_json(sidecar, describe(trained.finished))
        print(f"{sidecar}: its inputs and outputs")
