"""Runs searches on the card: an epoch, resumed ones, and whole ones in stretches."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

from benchmarks import epoch, images
from benchmarks.gpu import executables, search_programs
from benchmarks.gpu.child import Context
from benchmarks.gpu.ends import UnfinishedError
from benchmarks.gpu.process import file_name
from benchmarks.gpu.row_task import check_platform
from benchmarks.gpu.sizes import SIZES
from benchmarks.programs import counted_cache_hits
from egnas_jax.runs.search import run_search
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_setup import SearchSetup, set_up_search
from egnas_jax.runs.verify import verify
from egnas_jax.storage import records
from egnas_jax.training.program_cache import CompilePlan, OnStage, loaded_by

RESUMED_EPOCHS = 2


def measure_epoch(context: Context, size: str, precision: str) -> None:
    """Measures an epoch of the default search, on CIFAR-10 where it is there."""
    check_platform(context)
    plan = epoch.in_precision(SIZES[size]().plan, precision)
    pixels, labels, source = images.cifar10_or_synthetic(
        2 * plan.images, plan.side, context.settings.data_dir
    )
    run = epoch.make_run(plan, pixels, labels)
    loaded: list[str] = []
    carried = carried_programs(
        context, "epoch", loaded.append, size=size, precision=precision
    )
    with carried, counted_cache_hits() as hits:
        run, seconds = epoch.compile_programs(run)
    context.take_card()
    measured, _ = epoch.measure(run, plan)
    facts = {
        "precision": precision,
        "images": source,
        "compile_s": seconds,
        "from_cache": len(hits),
        "beforehand": len(loaded),
        "beside": context.beside,
        "halted": context.halted,
    }
    context.write(f"epoch, {precision}", measured | facts)


def carried_programs(
    context: Context,
    task: str,
    on_load: Callable[[str], None] = lambda name: None,
    **options: str,
) -> contextlib.AbstractContextManager[None]:
    """A context in which a search loads the programs that were compiled beforehand.

    Args:
      context: of the job.
      task: of the job.
      on_load: called with the name of each program that was loaded.
      options: of the job.
    """
    folder = context.settings.executables
    load = executables.loader(folder, task, options, context.flags, on_load=on_load)
    return loaded_by(load)


class CardMonitor:
    """A `StartMonitor` that takes the card once the programs of a search are ready."""

    def __init__(self, context: Context):
        self.context = context

    def data_loaded(self, setup: SearchSetup) -> None:
        """Does nothing."""

    @contextlib.contextmanager
    def compiling(self, plan: CompilePlan) -> Iterator[OnStage]:
        """Context in which programs compile; the card is taken at its end."""
        yield lambda name, stage: None
        self.context.take_card()


def check_resume(context: Context, size: str) -> None:
    """Searches with and without a break, replays the run, and compares the digests.

    A card's kernels need not be deterministic without XLA's flag, so digests that
    differ are a result like any other.
    """
    check_platform(context)
    preset, settings = SIZES[size]().resumed
    config = search_config(
        preset,
        variant="reproduction",
        settings={**settings, "epochs": RESUMED_EPOCHS},
    )
    # a job under other flags may prepare while this one measures
    folder = context.settings.out / "resume" / file_name(context.flags)
    shutil.rmtree(folder, ignore_errors=True)
    monitor = CardMonitor(context)
    straight = run_search(config, out=folder / "straight", monitor=monitor)
    resumed = folder / "resumed"
    run_search(config, out=resumed, stop_after=1, monitor=monitor)
    again = run_search(config, out=resumed, resume=True, monitor=monitor)
    verdict = verify(set_up_search(again.config, folder=resumed).run, from_start=True)
    result = {
        "flags": context.flags,
        "resumed_equal": digests(straight.records) == digests(again.records),
        "verified": not verdict.wrong,
        "wrong": list(verdict.wrong),
        "epochs": len(again.records),
        "seconds": straight.records[-1]["seconds"],
    }
    context.write("resume", result)


def digests(lines: list[dict]) -> list[str]:
    """The digest of every epoch."""
    return [line["digest"] for line in lines]


def carry_search(context: Context, size: str, variant: str) -> None:
    """Goes on with a whole search until it ends or the job is asked to end.

    Raises:
      UnfinishedError: it was asked to end; a checkpoint has been written.
    """
    check_platform(context)
    config = search_programs.config_of(SIZES[size](), variant)
    folder = context.settings.out / "searches" / variant

    def write(record: dict | None = None) -> None:
        lines = records.read(folder / "metrics.jsonl")
        if lines:
            context.write("search", summary(lines, config.epochs))

    try:
        with carried_programs(context, "search", size=size, variant=variant):
            run_search(
                config,
                out=folder,
                data_dir=None
                if config.data.name == "digits"
                else context.settings.data_dir,
                resume=True,
                on_epoch=write,
                monitor=CardMonitor(context),
            )
    except KeyboardInterrupt as stop:
        done = len(records.read(folder / "metrics.jsonl"))
        raise UnfinishedError(f"{done} of {config.epochs} epochs are done") from stop
    write()  # a search that had ended before has no epoch that would say so


def summary(lines: list[dict], epochs: int) -> dict:
    """How far a search has come, from its records."""
    return {
        "epochs": len(lines),
        "of": epochs,
        "valid_accuracy": lines[-1]["valid_accuracy"],
        "seconds": sum(line["seconds"] for line in lines),
        "curve": [line["valid_accuracy"] for line in lines],
        "genotype": lines[-1].get("genotype"),
    }
