"""Runs a search from its configuration to its result, with or without a directory."""

import contextlib
import contextvars
import functools
import logging
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

import jax

from egnas_jax.runs import directory, out_of_memory
from egnas_jax.runs.config_changes import changes
from egnas_jax.runs.data import ArrayData
from egnas_jax.runs.environment import warn_of_changes
from egnas_jax.runs.failures import running
from egnas_jax.runs.plugins import plugin_identity
from egnas_jax.runs.schedule_checks import warmup_of
from egnas_jax.runs.search_config import SearchConfig, from_dict
from egnas_jax.runs.search_result import SearchResult, finish
from egnas_jax.runs.search_resume import StartPoint, begin, find_start
from egnas_jax.runs.search_setup import SearchSetup, set_up_search
from egnas_jax.runs.tracking import with_trackers
from egnas_jax.search import loop
from egnas_jax.search.profile import first_steady_epoch, profiled
from egnas_jax.search.programs import SearchPrograms
from egnas_jax.search.search_run import (
    Progress,
    SearchRun,
    compiled,
    in_stage,
    next_stage,
)
from egnas_jax.settings import as_dict
from egnas_jax.storage import records
from egnas_jax.training.devices import describe
from egnas_jax.training.interrupt import InterruptFlag
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.processes import (
    SharedError,
    allgather_json,
    is_first,
    run_on_all,
)
from egnas_jax.training.program_cache import (
    CompileMonitor,
    CompilePlan,
    OnStage,
    unmonitored,
)


class StartMonitor(Protocol):
    """Receives the progress of a search before its first epoch, which takes minutes."""

    def data_loaded(self, setup: SearchSetup) -> None:
        """Called with the loaded data, before programs compile."""

    def compiling(self, plan: CompilePlan) -> AbstractContextManager[OnStage]:
        """Called for a context in which programs compile, see `CompileMonitor`."""


class Silent:
    """A `StartMonitor` that shows nothing."""

    def data_loaded(self, setup: SearchSetup) -> None:
        """Does nothing."""

    def compiling(self, plan: CompilePlan) -> AbstractContextManager[OnStage]:
        """Does nothing."""
        return unmonitored(plan)


@pinned()
def run_search(
    config: SearchConfig,
    *,
    out: str | pathlib.Path | None = None,
    data: ArrayData | None = None,
    data_dir: str | pathlib.Path | None = None,
    resume: bool = False,
    restore: str | pathlib.Path | None = None,
    stop_after: int | None = None,
    profile: str | pathlib.Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    on_steps: Callable[[int, int], None] | None = None,
    log: Callable[[str], None] | None = None,
    monitor: StartMonitor | None = None,
) -> SearchResult:
    """Searches a cell.

    Args:
      config: of the search, see `search_config`.
      out: run directory, made where it is missing; None writes nothing.
      data: (images u8[N, H, W, C], labels [N]), or these and test images and test
        labels, which a search leaves alone, or a form of others that
        `runs.data.dataset_from_arrays` knows. None: the data that the configuration
        names.
      data_dir: the only place to look for a named data set; None: the usual places.
      resume: go on with the run in `out`, or start it where it has no checkpoint.
      restore: directory of a run whose newest state this one starts from.
      stop_after: end when so many epochs are done, to be resumed later.
      profile: folder for traces of a few steady calls (`search.profile`).
      on_epoch: called with the record of each epoch, a dict.
      on_steps: called with the number of weight steps that are begun in an epoch, and
        that of all its steps, after each call of the device; for progress bars.
      log: called with notes; None: the logger "egnas_jax" gets them as warnings.
      monitor: follows what happens before the first epoch; None shows nothing.

    Returns:
      The result, which `load_search(out)` gives again.

    Raises:
      ValueError: the configuration, the data or the directory cannot be used; nothing
        was written.
      RuntimeError: the run failed; the message says how to go on.
      FloatingPointError: the loss is NaN or infinite.
      Interrupted: SIGINT or SIGTERM arrived, and a checkpoint was written (a
        KeyboardInterrupt).
    """
    # of several processes the first one alone reads and writes the directory
    folder = pathlib.Path(out) if out is not None and is_first() else None
    log = log or logging.getLogger("egnas_jax").warning
    monitor = monitor or Silent()
    set_up = functools.partial(
        set_up_search,
        config,
        data=data,
        data_dir=data_dir,
        folder=folder,
        on_epoch=on_epoch or (lambda record: None),
        on_steps=on_steps or (lambda done, total: None),
        log=log,
    )
    open_run = functools.partial(
        _open_run, set_up, folder, resume=resume, restore=restore, stop_after=stop_after
    )
    with contextlib.ExitStack() as stack:
        interrupted = stack.enter_context(_interruption(log))
        setup, start = run_on_all(open_run)
        check_same_configuration(setup.config)
        stop_after = allgather_json(stop_after)[0]
        trains = start.epochs < loop.last_epoch(setup.run, stop_after)
        wrap = _profiler(setup, profile, start, stop_after) if trains else None
        claim = claim_run(setup, start, trains, resume)
        run_on_all(lambda: stack.enter_context(claim))
        stack.enter_context(running(_advice(setup)))
        monitor.data_loaded(setup)
        end = _run_epochs(
            setup,
            start,
            stop_after,
            wrap=wrap,
            interrupted=interrupted,
            monitor=monitor.compiling,
        )
        return finish(setup, end, data_dir)


def _open_run(
    set_up: Callable[[], SearchSetup],
    folder: pathlib.Path | None,
    *,
    resume: bool,
    restore: str | pathlib.Path | None,
    stop_after: int | None,
) -> tuple[SearchSetup, StartPoint]:
    """The data and programs of a search, and where it begins; writes nothing.

    Args:
      set_up: loads the data and makes the programs.
      folder: run directory, or None.
      resume, restore, stop_after: see `run_search`.
    """
    if is_first():
        directory.check_arguments(folder, resume=resume, stop_after=stop_after)
    setup = set_up()
    if folder:
        directory.check_configuration(setup.config, folder)
        warn_of_changes(folder, setup.run.log)
    return setup, find_start(setup.run, restore, resume=resume)


def _advice(setup: SearchSetup) -> Callable:
    """What to say where the memory of the device does not suffice."""
    return functools.partial(
        out_of_memory.search_advice, config=setup.config, run=setup.run
    )


def _interruption(log: Callable[[str], None]):
    """A context that remembers a signal, if several processes share the search.

    One process alone may end at any time before the first epoch, when it has nothing to
    save. One of several must not, because the others would wait for it: they all end
    after the next call of the device.
    """
    several = jax.process_count() > 1
    return InterruptFlag(log) if several else contextlib.nullcontext()


def check_same_configuration(config: SearchConfig) -> None:
    """Refuses processes that were started with unlike settings, data or plug-ins.

    Raises:
      SharedError: two configurations or plug-ins differ; on every process.
    """
    plugins = allgather_json(plugin_identity())
    for number, other in enumerate(plugins):
        if other != plugins[0]:
            raise SharedError(
                f"Process {number} has loaded other plug-ins than process 0, or other "
                f"contents of their files. Start all by the same command, and copy the "
                f"plug-ins to all machines."
            )
    first, *others = allgather_json(as_dict(config))
    for number, other in enumerate(others, start=1):
        if changed := changes(from_dict(first), from_dict(other)):
            raise SharedError(
                f"Process {number} was started with other settings than process 0: "
                f"{'; '.join(changed)}. Start all by the same command."
            )


def claim_run(
    setup: SearchSetup,
    start: StartPoint,
    trains: bool,
    resume: bool,
    batch: dict | None = None,
) -> AbstractContextManager[None]:
    """Returns a context that holds the lock of the run directory, if there is one.

    Args:
      setup: of the search.
      start: where it begins.
      trains: whether an epoch is left to run.
      resume: whether the directory may hold the run already.
      batch: what environment.json says of a batch, see `runs.environment`.
    """
    config, run = setup.config, setup.run
    if run.folder is None:
        return contextlib.nullcontext()
    mesh = describe(
        run.problem.net.mesh,
        config.strategy.individuals,
        config.batch_size,
        config.shards,
    )
    return directory.claim(
        config,
        run.folder,
        start.origin,
        mesh,
        resume=resume,
        trains=trains,
        batch=batch,
        log=run.log,
    )


def _profiler(
    setup: SearchSetup,
    profile: str | pathlib.Path | None,
    start: StartPoint,
    stop_after: int | None,
) -> Callable[[SearchPrograms], SearchPrograms]:
    """A function that makes programs trace their calls, where a profile is asked for.

    Raises:
      ValueError: the run is too short for a profile.
    """
    if profile is None:
        return lambda programs: programs
    warmup, last = warmup_of(setup.config), loop.last_epoch(setup.run, stop_after)
    if stage := start.stage_of(setup.run):
        warmup, last = stage.first + warmup, min(stage.end, last)
    epoch = first_steady_epoch(start.epochs, warmup, last)
    return functools.partial(profiled, folder=pathlib.Path(profile), epoch=epoch)


def _run_epochs(
    setup: SearchSetup,
    start: StartPoint,
    stop_after: int | None,
    *,
    wrap: Callable | None,
    interrupted: Callable[[], bool] | None,
    monitor: CompileMonitor,
) -> loop.SearchEnd:
    """Runs the epochs that are left; `wrap` is None where none is."""
    run = setup.run
    write_model(run)
    # of several processes the first one alone has read a checkpoint
    stage = allgather_json(start.progress and start.progress.stage)[0]
    run = in_stage(run, stage)
    if wrap is None:
        progress = begin(run, start)
    else:
        progress, run = _begin_and_compile(run, start, monitor)
        run = run._replace(programs=wrap(run.programs))
    first_epoch = int(progress.state.epoch)
    with with_trackers(run, setup.config, first_epoch) as run:
        earlier = None if run.folder else list(start.records)
        return loop.search(
            run, progress, stop_after, earlier, interrupted, monitor=monitor
        )


def write_model(run: SearchRun) -> None:
    """Writes what `load_search` needs besides the configuration, to model.json."""
    if run.folder:
        model = {"image_shape": run.image_shape, "num_valid": run.num_valid}
        records.write_json(run.folder / "model.json", model)


def _begin_and_compile(
    run: SearchRun, start: StartPoint, monitor: CompileMonitor
) -> tuple[Progress, SearchRun]:
    """Where the run begins, and the run with its programs compiled.

    Weights are drawn while programs compile; not with several processes, which
    communicate in both (tracing asks for the free memory of all), and must do so in
    the same order everywhere. Where a stage has ended, the next one is begun first.
    """
    if jax.process_count() > 1 or start.progress is not None:
        run, progress = next_stage(run, begin(run, start))
        return progress, compiled(run, monitor)
    with ThreadPoolExecutor(1) as pool:
        in_context = contextvars.copy_context().run  # with the fence of this thread
        beginning = pool.submit(in_context, begin, run, start)
        run = compiled(run, monitor)
    return beginning.result(), run
