"""Describes a run of the search loop: what it searches, its progress, its stages.

A method may search in stages, each with a supernet of its own. The checkpoint after the
last epoch of a stage holds its arrays. What follows from them, the next stage with its
first state, is not stored, but made anew where a run is resumed.

Dims: H, W height and width in pixels, C channels.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from egnas_jax.nn.supernet_config import LivePrimitives, as_live
from egnas_jax.search import stored_state
from egnas_jax.search.epoch import steps_of_epoch
from egnas_jax.search.programs import (
    SearchPrograms,
    compile_programs,
    program_requests,
)
from egnas_jax.search.state import (
    SearchHyperparams,
    SearchProblem,
    SearchState,
    init_state,
)
from egnas_jax.space import SPACES, Space
from egnas_jax.training.devices import replicate
from egnas_jax.training.program_cache import (
    CompileMonitor,
    ProgramRequest,
    unmonitored,
)


class SearchStage(NamedTuple):
    """A part of the epochs of a search, with a supernet of its own.

    Attributes:
      index: from 0.
      first: epoch that it begins with.
      end: the epoch after its last.
      live: primitives of its supernet; None: all.
    """

    index: int
    first: int
    end: int
    live: LivePrimitives | None

    def as_json(self) -> dict:
        """What a checkpoint stores of its stage."""
        return {"index": self.index, "first": self.first, "live": self.live}


class SearchRun(NamedTuple):
    """What the loop needs to run a search, or a stage of one.

    Attributes:
      problem: what is searched.
      programs: its functions under `jax.jit`, which `compiled` compiles; None for a
        search of a batch, which has none of its own.
      hyperparams: its numbers; the loop sets the learning rate of each epoch.
      image_shape: of the data, (H, W, C).
      num_train, num_valid: images of training and validation.
      steps_per_call: weight steps in one call of the device.
      folder: run directory; None writes nothing.
      keep_checkpoints: how many checkpoints stay.
      on_epoch: called with each epoch's record, a dict.
      on_steps: called with the number of weight steps that are begun in an epoch, and
        that of all its steps, after each call of the device.
      log: called with notes, a str each.
      identity: what the programs are made of, for `training.program_cache`.
      stage: the stage that this run is; None for a search without stages.
      enter: (index, live) -> another stage of the same search.
      all_epochs: number of epochs of a search in stages.
    """

    problem: SearchProblem
    programs: SearchPrograms | None
    hyperparams: SearchHyperparams
    image_shape: tuple[int, int, int]
    num_train: int
    num_valid: int
    steps_per_call: int = 8
    folder: pathlib.Path | None = None
    keep_checkpoints: int = 2
    on_epoch: Callable[[dict], None] = lambda record: None
    on_steps: Callable[[int, int], None] = lambda done, total: None
    log: Callable[[str], None] = lambda text: None
    identity: Mapping | None = None
    stage: SearchStage | None = None
    enter: Callable[[int, LivePrimitives | None], "SearchRun"] | None = None
    all_epochs: int | None = None

    @property
    def num_steps(self) -> int:
        """Weight steps of an epoch."""
        return steps_of_epoch(self.problem, self.num_train)

    @property
    def epochs(self) -> int:
        """Epochs of the whole search."""
        return self.all_epochs or self.problem.sgd.epochs

    @property
    def first_epoch(self) -> int:
        """Epoch that the stage begins with; 0 without stages."""
        return self.stage.first if self.stage else 0

    @property
    def space(self) -> Space:
        """The space of the cells."""
        return SPACES[self.problem.net.config.space]


# What the loop does on the host, which is the same in all stages: the optional fields
# that do not describe a stage. An optional field that is added later is one of them,
# unless it is listed here.
HOST_FIELDS = tuple(
    name
    for name in SearchRun._field_defaults
    if name not in ("identity", "stage", "enter", "all_epochs")
)


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
      state: weights, the method's state and all else that a checkpoint holds.
      metrics: of the method's update in the running epoch, if it came before the weight
        steps; else {}. A checkpoint stores them under the name info.
      stage: `SearchStage.as_json()` of the stage that the state belongs to, as it was
        stored; None for a search without stages, or for the stage of the run.
    """

    state: SearchState
    metrics: dict[str, float | list | None]
    stage: dict | None = None


def layout(run: SearchRun) -> SearchState:
    """Returns shapes and dtypes of a run's state, which a checkpoint must fit."""
    return stored_state.layout(run.problem, run.image_shape, run.hyperparams)


def requests(run: SearchRun) -> dict[str, ProgramRequest]:
    """Returns the programs that `compiled` compiles, by name."""
    return program_requests(run.problem, run.programs, run.hyperparams, layout(run))


def compiled(run: SearchRun, monitor: CompileMonitor = unmonitored) -> SearchRun:
    """Compiles the run's programs side by side, or reads them from the user's cache.

    Args:
      run: a run with programs that are not compiled yet.
      monitor: called with the progress of the compilation, see
        `training.program_cache`.
    """
    programs = compile_programs(
        run.problem,
        run.programs,
        run.hyperparams,
        layout(run),
        identity=run.identity,
        monitor=monitor,
    )
    return run._replace(programs=programs)


def beginning(run: SearchRun) -> Progress:
    """Makes the start of a run that continues no other, on the devices of the run."""
    state = init_state(run.problem, run.image_shape, run.hyperparams)
    return Progress(replicate(run.problem.net.mesh, state), {})


def in_stage(run: SearchRun, stored: dict | None) -> SearchRun:
    """Returns the stage of a search that a checkpoint names.

    Args:
      run: any stage of the search.
      stored: `SearchStage.as_json()`, as JSON may have stored it; None: the run as it
        is.

    Raises:
      ValueError: the search has no such stage.
    """
    if stored is None or run.enter is None:
        return run
    entered = _entered(run, stored["index"], as_live(stored["live"]))
    if entered.stage.first != stored["first"]:
        raise ValueError(
            f"it holds stage {stored['index'] + 1}, which began with epoch "
            f"{stored['first'] + 1}; that of this search begins with epoch "
            f"{entered.stage.first + 1}. Set epochs and the lengths of the stages to "
            f"those of that run."
        )
    return entered


def next_stage(run: SearchRun, progress: Progress) -> tuple[SearchRun, Progress]:
    """Returns the next stage and its first state, where a stage has ended.

    Args:
      run: a stage, or a search without any.
      progress: in that stage.
    """
    stage, epoch = run.stage, int(progress.state.epoch)
    if stage is None or epoch < stage.end or epoch >= run.epochs:
        return run, progress
    mixing = jax.tree.map(np.asarray, run.programs.incumbent(progress.state))
    live = run.problem.strategy.prune(mixing)
    run = _entered(run, stage.index + 1, live)
    return run, beginning(run)


def _entered(run: SearchRun, index: int, live: LivePrimitives | None) -> SearchRun:
    """Another stage, whose host side is that of the run."""
    fields = {name: getattr(run, name) for name in HOST_FIELDS}
    return run.enter(index, live)._replace(**fields)


def next_compiled(
    run: SearchRun, progress: Progress, monitor: CompileMonitor = unmonitored
) -> tuple[SearchRun, Progress]:
    """Returns the next stage with compiled programs, where a stage has ended.

    Args:
      run, progress: see `next_stage`.
      monitor: called with the progress of the compilation.
    """
    following, progress = next_stage(run, progress)
    is_new = following is not run
    return compiled(following, monitor) if is_new else run, progress
