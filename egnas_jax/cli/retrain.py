"""Trains the network of a genotype: the command `egnas retrain`."""

import argparse
import contextlib
import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

from egnas_jax.cli.console import (
    DONE,
    FAILED,
    check_run,
    check_run_options,
    read_genotype,
    say,
    use_compilation_cache,
)
from egnas_jax.cli.epoch_bars import EpochBars
from egnas_jax.cli.epoch_lines import retrain_line
from egnas_jax.cli.run_folders import default_folder, run_folders
from egnas_jax.cli.search_many import add_batched, check_began_alone, read_batched
from egnas_jax.cli.start_display import waiting_for
from egnas_jax.lookup import check_known
from egnas_jax.runs.presets import DEFAULT_RECIPE, RECIPES
from egnas_jax.runs.sweep_configs import with_seeds

if TYPE_CHECKING:  # importing them imports JAX
    from egnas_jax.retrain.config import RetrainConfig
    from egnas_jax.retrain.loop import RetrainRun
    from egnas_jax.space import Genotype, Topology


def retrain_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas retrain`."""
    add = parser.add_argument
    add(
        "--genotype",
        required=True,
        metavar="GENOTYPE",
        help="zoo name, text, file, or the run that found it",
    )
    add(
        "--preset",
        metavar="NAME",
        help=f"a whole run's settings ({DEFAULT_RECIPE})",
    )
    add("--data-dir", help="the only place to look for the data set")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="change one setting; --print-config lists them",
    )
    add("--no-auxiliary", action="store_true", help="leave the auxiliary head out")
    add("--init-from", metavar="RUN", help="start with the weights of another network")
    text = "start from the state of another retraining, to train longer"
    add("--restore", metavar="RUN", help=text)
    add(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="train N seeds; a table of them in --out",
    )
    add_batched(parser, "seeds", nargs="?", const="on")
    places = "runs/PRESET-seedN, or runs/PRESET-retrain for several seeds"
    add("--out", help=f"run directory (default: {places})")
    add("--resume", action="store_true", help="go on with a run")
    add(
        "--stop-after",
        type=int,
        metavar="N",
        help="end when N epochs are done, to be resumed",
    )
    add("--print-config", action="store_true", help="print the configuration and exit")
    add("--json", action="store_true", help="print one JSON object and nothing else")


def retrain(options: argparse.Namespace) -> int:
    """Trains a genotype from scratch, with one seed or several.

    Returns:
      The exit code.
    """
    _check_options(options)
    genotype = read_genotype(options.genotype)
    from egnas_jax.runs.search_origin import search_seconds
    from egnas_jax.settings import as_dict
    from egnas_jax.studies import retrain_seeds

    base, origin = _configuration(options, genotype)
    configs = with_seeds(base, options.seeds)
    if options.print_config:
        print(json.dumps(as_dict(base), indent=2))
        return DONE
    with contextlib.ExitStack() as stack:
        if options.seeds > 1 and not options.out:
            table = default_folder(options, f"{options.preset}-retrain")
            options.out = str(stack.enter_context(table))
        summaries = _retrain_all(options, configs, search_seconds(origin))
        if not summaries:
            return FAILED
        ended = {summary["seed"] for summary in summaries}
        failed = [each.seed for each in configs if each.seed not in ended]
        results = retrain_seeds.aggregate(summaries, failed)
        if options.seeds > 1:
            retrain_seeds.write(pathlib.Path(options.out), results)
    print(
        json.dumps(results) if options.json else retrain_seeds.markdown(results), end=""
    )
    if not options.json:
        print(f"Run: {options.out or summaries[0]['run']}")
    return FAILED if failed else DONE


def _check_options(options) -> None:
    """Refuses what can be checked before JAX is imported."""
    check_run_options(options, ("out", "data_dir", "init_from", "restore"))
    read_batched(options.batched)
    if options.preset is not None:
        check_known(RECIPES, options.preset, "preset")
    for run in (options.init_from, options.restore):
        if run is not None and not options.resume:  # which may do without
            check_run(run)


def _configuration(
    options, genotype: "Genotype | Topology"
) -> tuple["RetrainConfig", pathlib.Path | None]:
    """The configuration, and the run directory that was named; `preset` is set.

    A file in a run may hold another cell than the one that the run found, so the run
    directory, which says what the search cost, is None for it.
    """
    from egnas_jax.runs.genotype_source import existing_path
    from egnas_jax.runs.retrain_config import retrain_config, with_genotype
    from egnas_jax.runs.search_origin import run_of, searched_on, split_seed
    from egnas_jax.settings import assignments

    path = existing_path(options.genotype)
    origin = path if path is not None and path.is_dir() else None
    if options.preset is None:
        folder = path.parent if path is not None and path.is_file() else origin
        _check_same_data(options, *searched_on(folder))
        options.preset = DEFAULT_RECIPE
    config = retrain_config(
        options.preset,
        settings=split_seed(run_of(path)) | assignments(options.overrides),
        auxiliary=not options.no_auxiliary,
        init_from=options.init_from,
    )
    return with_genotype(config, genotype, source=options.genotype), origin


def _check_same_data(options, name: str | None, path: str | None) -> None:
    """Refuses the data of the default preset for a cell that was searched on others.

    Args:
      options: of a command without --preset.
      name, path: of the data of the run that found the cell, see `searched_on`.
    """
    given = any(entry.startswith("data.") for entry in options.overrides)
    if given or (name in (None, DEFAULT_RECIPE) and path is None):
        return
    same = f"--set data.path={path}" if path else f"--preset {name}"
    raise ValueError(
        f"{options.genotype} was searched on {path or name}, but without --preset the "
        f"cell would be trained on {DEFAULT_RECIPE}. Add {same} to train it on the "
        f"images of its search, or name the preset that you mean."
    )


def _retrain_all(options, configs, search_seconds: float | None) -> list[dict]:
    """Trains every seed, after all directories were checked.

    Returns:
      The summaries; those of a batch lack the seeds whose loss was not finite.
    """
    from egnas_jax.runs import directory

    if options.seeds > 1:
        _check_table_folder(pathlib.Path(options.out))
    with run_folders(options, [each.seed for each in configs]) as folders:
        for folder in folders:
            directory.check_free(folder, resume=options.resume)
        if options.batched is None:
            check_began_alone(folders, devices=None)
        if options.seeds > 1 and options.resume:
            _check_same_configurations(configs, folders, options.data_dir)
        use_compilation_cache()
        if options.batched is not None:
            return _retrain_together(options, configs, folders, search_seconds)
        return [
            _retrain_one(options, config, folder, search_seconds)
            for config, folder in zip(configs, folders, strict=True)
        ]


def _retrain_one(options, config, folder: pathlib.Path, search_seconds) -> dict:
    from egnas_jax.runs.retrain import run_retraining

    with (
        EpochBars(config.epochs, retrain_line, quiet=options.json) as bars,
        contextlib.ExitStack() as waiting,
    ):
        waiting.enter_context(waiting_for("Loading the data", quiet=options.json))

        def on_start(run: "RetrainRun") -> None:
            waiting.close()
            if not options.json:
                say(describe(run))
            waiting.enter_context(waiting_for("Compiling", quiet=options.json))

        def on_steps(done: int, total: int) -> None:
            waiting.close()  # the first call has compiled
            bars.on_steps(done, total)

        result = run_retraining(
            config.genotype,
            config,
            out=folder,
            data_dir=options.data_dir,
            resume=options.resume,
            restore=_restored_seed(options.restore, config.seed),
            stop_after=options.stop_after,
            on_start=on_start,
            on_epoch=bars.on_epoch,
            on_steps=on_steps,
            log=say,
            search_seconds=search_seconds,
        )
    return result.summary | {"seed": config.seed, "run": str(folder)}


def describe(run: "RetrainRun") -> str:
    """What a network is trained and tested on, as a line."""
    config, steps = run.config, run.pipeline.num_steps
    data = config.data.path or config.data.name
    return (
        f"{data}: {config.network.num_classes} classes; "
        f"{config.epochs} epochs of {steps} steps with {config.batch_size} images; "
        f"{len(run.test.labels)} test images."
    )


def _retrain_together(options, configs, folders, search_seconds) -> list[dict]:
    """Trains several seeds as one program."""
    from egnas_jax.runs.retrainings import run_retrainings

    waiting = contextlib.ExitStack()

    def on_epoch(index: int, record: dict) -> None:
        waiting.close()
        if not options.json:
            line = retrain_line(record, configs[index].epochs)
            say(f"seed {configs[index].seed}: {line}")

    with waiting:
        text = "Loading the data, compiling and training to the first evaluation"
        waiting.enter_context(waiting_for(text, quiet=options.json))
        trained = run_retrainings(
            configs[0].genotype,
            configs,
            folders,
            batched=read_batched(options.batched),
            data_dir=options.data_dir,
            resume=options.resume,
            restores=[_restored_seed(options.restore, each.seed) for each in configs],
            stop_after=options.stop_after,
            on_epoch=on_epoch,
            log=say,
            search_seconds=search_seconds,
        )
    return [
        result.summary | {"seed": config.seed, "run": str(folder)}
        for config, folder, result in zip(
            configs, folders, trained.results, strict=True
        )
        if result is not None
    ]


def _restored_seed(restore: str | None, seed: int) -> pathlib.Path | None:
    """The run to start from; of a directory of several seeds, that of the same seed."""
    from egnas_jax.runs.finished_network import seed_folders

    if restore is None:
        return None
    folder = pathlib.Path(restore)
    return folder / f"seed{seed}" if seed_folders(folder) else folder


def _check_same_configurations(configs, folders, data_dir: str | None) -> None:
    """Refuses runs of other configurations, before the first seed is trained."""
    from egnas_jax.runs import directory
    from egnas_jax.runs.initial_weights import with_initial_digest
    from egnas_jax.runs.retrain_config import from_dict
    from egnas_jax.runs.retrain_data import load_data

    _, loaded = load_data(configs[0], data_dir=data_dir)
    for config, folder in zip(configs, folders, strict=True):
        config = dataclasses.replace(loaded, seed=config.seed)
        config = with_initial_digest(config, folder)
        directory.check_configuration(config, folder, from_dict)


def _check_table_folder(folder: pathlib.Path) -> None:
    """Refuses the directory of a run, whose summary the table's would replace."""
    if (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds a run already, and several seeds take a directory of "
            f"their own. Name another --out, or leave --seeds out."
        )
