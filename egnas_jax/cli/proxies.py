"""Implements `egnas proxies`, which scores cells of a space without training them."""

import argparse
import dataclasses
import json
import pathlib

from egnas_jax.cli.console import (
    check_folders,
    check_writable,
    say,
    use_compilation_cache,
)

COUNT = dict(type=int, metavar="N")
COLUMNS = "proxy|Kendall's tau|Spearman's rho|unscored cells"
EVERY = "all"
TABLE_SPACE, TABLE_CELLS = "nasbench201", 15625
DEFAULT_DATASET = "cifar10"


def proxies_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas proxies`."""
    add = parser.add_argument
    add("--space", default=TABLE_SPACE, metavar="NAME", help="(default: %(default)s)")
    text = "table made by `egnas data prepare --name nasbench201`"
    add("--table", metavar="FILE.npz", help=text)
    text = "of --table: cifar10, cifar100, imagenet16_120 (cifar10)"
    add("--dataset", metavar="NAME", help=text)
    add("--cells", default="1000", metavar="N|all", help="cells (%(default)s)")
    repeated = dict(action="append", default=[], metavar="NAME")
    add(
        "--proxy",
        **repeated,
        help="proxy; repeatable (all). Beside it stands `params` if there is a table",
    )
    add("--channels", **COUNT, default=4, help="of the first cell (%(default)s)")
    add("--layers", **COUNT, default=5, help="of the network (%(default)s)")
    add("--image-size", **COUNT, default=8, help="side of images (%(default)s)")
    add("--batch-size", **COUNT, default=16, help="images of the batch (%(default)s)")
    add("--data", default="digits", metavar="NAME", help="images (%(default)s)")
    add("--data-dir", help="folder of the images; nothing is downloaded then")
    add("--seed", type=int, default=0, help="of cells, weights, images (%(default)s)")
    add("--out", metavar="DIR", help="(default: runs/proxies-SPACE)")
    add("--resume", action="store_true", help="go on with what --out holds")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def proxies(options: argparse.Namespace) -> None:
    """Scores cells by proxies, and prints how well they rank as training does."""
    check_folders(options, ("out", "data_dir"))
    out = pathlib.Path(options.out or f"runs/proxies-{options.space}")
    number = _number_of_cells(options)
    _check_out(out, options.resume)
    from egnas_jax.proxies import PROXIES
    from egnas_jax.runs.failures import running
    from egnas_jax.studies import proxy_scores
    from egnas_jax.studies.nasbench201.read import read_table

    frame = ("channels", "layers", "image_size", "batch_size", "data", "seed")
    study = proxy_scores.ProxyStudy(
        space=options.space,
        proxies=tuple(dict.fromkeys(options.proxy)) or tuple(PROXIES),
        cells=number,
        **{name: getattr(options, name) for name in frame},
    )
    dataset = _dataset_of(options)
    table = None if dataset is None else read_table(options.table, dataset)
    batch, num_classes = proxy_scores.load_batch(study, options.data_dir)
    check_writable(out)
    proxy_scores.check_scores(study, batch, out)
    use_compilation_cache()
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with running():
            scores = proxy_scores.score_study(
                study, batch, num_classes, out, on_chunk=_printer(number)
            )
            if table is not None and proxy_scores.SIZE not in scores:
                scores |= proxy_scores.sizes(study, batch, num_classes)
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()
    compared = None if table is None else (dataset, table)
    _write(options, out, study, scores, compared=compared)


def _number_of_cells(options) -> int:
    """The number in --cells, checked as far as that needs no space."""
    if options.table is not None and options.space != TABLE_SPACE:
        raise ValueError(
            f"--table is of {TABLE_SPACE}, and --space is {options.space}, of which "
            f"there is no table: leave --table out."
        )
    if options.cells == EVERY:
        if options.space != TABLE_SPACE:
            raise ValueError(
                f"--cells is all, but {options.space} has too many cells to score "
                f"them all: give a number."
            )
        return TABLE_CELLS
    if not options.cells.isdecimal() or int(options.cells) < 3:
        raise ValueError(
            f"--cells is {options.cells!r}, but must be a whole number from 3 on, or "
            f"all."
        )
    return int(options.cells)


def _dataset_of(options) -> str | None:
    """The data set of the table; None without a table.

    Raises:
      ValueError: the table has no such data set, or there is no table.
    """
    from egnas_jax.lookup import lookup
    from egnas_jax.studies.nasbench201.table import DATASETS

    if options.dataset is not None:
        lookup(DATASETS, options.dataset, "data set of the table")
        if options.table is None:
            raise ValueError(
                f"--dataset is {options.dataset}, a data set of the table, but there "
                f"is no --table. Name one, or leave --dataset out; --data names the "
                f"images."
            )
    return None if options.table is None else options.dataset or DEFAULT_DATASET


def _check_out(out: pathlib.Path, resume: bool) -> None:
    """Refuses a folder that holds scores, unless the study goes on with them.

    Raises:
      ValueError: it holds some and `resume` is False, or none and `resume` is True.
    """
    has_scores = (out / "scores.npz").exists()
    if resume and not has_scores:
        raise ValueError(
            f"--resume goes on with the scores that --out holds, but {out} holds none. "
            f"Name the folder where the study began, or leave --resume out."
        )
    if not resume and has_scores:
        raise ValueError(
            f"{out} holds scores of proxies. Go on with them by --resume, or name "
            f"another --out."
        )


def _printer(number: int):
    def on_chunk(done: int) -> None:
        say(f"{done} of {number} cells are scored.")

    return on_chunk


def _write(options, out: pathlib.Path, study, scores, *, compared) -> None:
    """Writes proxies.json, and prints the correlations.

    Args:
      options: of the command line.
      out: the folder.
      study, scores: of the cells.
      compared: the name of a data set and its table, or None.
    """
    from egnas_jax.storage import records
    from egnas_jax.studies import proxy_scores
    from egnas_jax.studies.tables import interval_text, markdown_table

    cells = proxy_scores.draw_cells(study)
    result = {"study": dataclasses.asdict(study), "scores": scores}
    result["cells"] = [cell.format() for cell in proxy_scores.genotypes(study, cells)]
    correlations = {}
    if compared is not None:
        dataset, table = compared
        accuracy = proxy_scores.accuracies(table, cells)
        correlations = proxy_scores.correlate(scores, accuracy, study.seed)
        result |= {"dataset": dataset, "test_accuracy": accuracy}
        result["correlations"] = correlations
    records.write_json(out / "proxies.json", result)
    if options.json:
        print(json.dumps(records.plain(result)))
        return
    rows = [
        (
            name,
            *(interval_text(**entry[one]) for one in ("kendall", "spearman")),
            entry["unscored"],
        )
        for name, entry in correlations.items()
    ]
    if rows:
        print(markdown_table(COLUMNS.split("|"), rows), end="")
    print(f"Results: {out}/proxies.json")
