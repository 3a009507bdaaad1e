"""Times an epoch of a search as `egnas search` runs it."""

import dataclasses
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import rows, small_space
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.search import loop
from egnas_jax.search.epoch_schedule import EpochSchedule
from egnas_jax.search.programs import make_programs
from egnas_jax.search.search_run import Progress, SearchRun, beginning, compiled
from egnas_jax.search.state import (
    SearchData,
    SearchHyperparams,
    SearchProblem,
    SearchState,
)
from egnas_jax.strategies.egnas.config import EGNASConfig
from egnas_jax.strategies.egnas.strategy import egnas
from egnas_jax.training.sgd import SGD


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search whose epochs are timed.

    Attributes:
      supernet, strategy, data: configuration of the search; without warm-up, so that
        every epoch explores.
      images: number of training images, and of validation images.
      side: of an image, in pixels.
      batch_size: images of a weight step.
      epochs, warmup: of the whole search whose time is extrapolated.
      scale: mean and std of the channels.
    """

    supernet: SupernetConfig = SupernetConfig()
    strategy: EGNASConfig = EGNASConfig(warmup=0)
    data: DataConfig = DataConfig(name="cifar10", pad=4, flip=True)
    images: int = 25_000
    side: int = 32
    batch_size: int = 256
    epochs: int = 50
    warmup: int = EGNASConfig.warmup
    scale: tuple[tuple, tuple] = ((0.5,) * 3, (0.25,) * 3)


FULL = Plan()


def tiny_plan() -> Plan:
    """A plan of one cell, whose programs compile in seconds."""
    return Plan(
        supernet=SupernetConfig(
            channels=4, layers=1, partial_channels=2, space=small_space.register()
        ),
        strategy=EGNASConfig(
            warmup=0, fitness_batch_size=16, population=4, samples=1, generations=1
        ),
        data=DataConfig(name="cifar10", pad=1, flip=True),
        images=64,
        side=8,
        batch_size=16,
    )


class Parts(NamedTuple):
    """What a search is made of.

    Attributes:
      problem, data: see `search.step`.
      hyperparams: those of the first search.
      image_shape: (H, W, C).
    """

    problem: SearchProblem
    data: SearchData
    hyperparams: SearchHyperparams
    image_shape: tuple[int, int, int]


def make_parts(plan: Plan, images: np.ndarray, labels: np.ndarray) -> Parts:
    """Makes a search; the first half of the images trains, the other validates."""
    parts = [
        LabelledImages(jnp.asarray(images[part]), jnp.asarray(labels[part], jnp.int32))
        for part in (slice(plan.images), slice(plan.images, 2 * plan.images))
    ]
    net = make_supernet(plan.supernet)
    strategy = egnas(net, plan.strategy)
    problem = SearchProblem(
        net=net,
        strategy=strategy,
        schedule=EpochSchedule(),
        augmentation=plan.data,
        sgd=SGD(
            batch_size=plan.batch_size,
            learning_rate=0.1,
            learning_rate_min=0.0,
            momentum=0.9,
            weight_decay=3e-4,
            clip_norm=5.0,
            epochs=plan.epochs,
        ),
        valid_batch_size=plan.strategy.valid_batch_size,
    )
    hyperparams = SearchHyperparams(
        seed=np.uint32(0),
        learning_rate=np.float32(0.1),
        strategy=jax.tree.map(np.float32, strategy.hyperparams),
    )
    data = SearchData(*parts, scale=jnp.asarray(plan.scale, jnp.float32))
    return Parts(problem, data, hyperparams, images.shape[1:])


def in_precision(plan: Plan, precision: str) -> Plan:
    """The plan with activations of a precision, a key of `rows.PRECISIONS`."""
    dtype, _ = rows.PRECISIONS[precision]
    supernet = dataclasses.replace(plan.supernet, dtype=dtype)
    return dataclasses.replace(plan, supernet=supernet)


def make_run(plan: Plan, images: np.ndarray, labels: np.ndarray) -> SearchRun:
    """Sets the search of `make_parts` up for the loop."""
    parts = make_parts(plan, images, labels)
    return SearchRun(
        problem=parts.problem,
        programs=make_programs(parts.problem, parts.data),
        hyperparams=parts.hyperparams,
        image_shape=parts.image_shape,
        num_train=plan.images,
        num_valid=plan.images,
    )


def compile_programs(run: SearchRun) -> tuple[SearchRun, float]:
    """Compiles the three programs of a search; returns the run and the seconds."""
    started = time.perf_counter()
    run = compiled(run)
    return run, time.perf_counter() - started


class SearchSide:
    """Compiles the programs of a search in a process of its own."""

    def __init__(self, plan: Plan, cache: str):
        jax.config.update("jax_compilation_cache_dir", cache)
        shape = 2 * plan.images, plan.side, plan.side, 3
        pixels = np.zeros(shape, np.uint8), np.zeros(shape[0], np.int32)
        self.run = make_run(plan, *pixels)._replace(identity={"plan": repr(plan)})

    def compile(self) -> dict:
        """Compiles the programs, or reads those that an earlier process compiled."""
        _, seconds = compile_programs(self.run)
        return {"seconds": seconds}


class Clock:
    """Adds up the seconds of the functions that it wraps, until results are ready."""

    def __init__(self):
        self.seconds = {}

    def wrap(self, name: str, function):
        """Returns the function with its seconds added under the name."""

        def call(*arguments):
            jax.block_until_ready(arguments)
            started = time.perf_counter()
            result = jax.block_until_ready(function(*arguments))
            spent = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            return result

        return call


def measure(run: SearchRun, plan: Plan) -> tuple[dict, SearchState]:
    """Times the second of two epochs and its parts; returns the state after it too."""
    state, _ = loop.run_epoch(run, beginning(run))
    clock = Clock()
    watched = run.programs._replace(
        evolve=clock.wrap("evolve", run.programs.evolve),
        validate=clock.wrap("validate", run.programs.validate),
    )
    started = time.perf_counter()
    state, line = loop.run_epoch(run._replace(programs=watched), Progress(state, {}))
    seconds = time.perf_counter() - started
    explored = clock.seconds["evolve"]
    return {
        "seconds": seconds,
        **clock.seconds,
        "weights_and_host": seconds - sum(clock.seconds.values()),
        "train_loss": line["train_loss"],
        "valid_accuracy": line["valid_accuracy"],
        "whole_search": plan.epochs * seconds - plan.warmup * explored,
        "whole_search_epochs": plan.epochs,
    }, state
