"""Compiles programs ahead of time, or takes lowered ones from a cache on disk.

JAX traces a program in one thread and XLA compiles it in others, so the next program is
traced while one compiles. JAX's own compilation cache stores executables, but its key
needs the lowered program, and tracing and lowering a supernet takes longer than reading
its executable. So the lowered program is stored too (by `jax.export`, in
program_store.py), under a key that needs no tracing.

The key holds everything that a program depends on: what the caller says of it, the
shapes of the arguments, the source of this package, the versions of the libraries that
trace it, the settings of JAX and XLA, and the device.
"""

import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
from jax import export

from egnas_jax.nn import lowering
from egnas_jax.training import compile_times, program_store
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.out_of_memory import free_bytes, out_of_memory_in
from egnas_jax.training.program_store import Lowered
from egnas_jax.types import PyTree

KEPT = 12  # programs that a process keeps, for one search after another
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")  # environment variables of the compilers
_REMEMBERED: dict[str, Callable] = {}


class ProgramRequest(NamedTuple):
    """A program to compile.

    Attributes:
      program: `functools.partial` of a function of `jax.jit`, as `search.programs`
        makes it.
      arguments: those of a call after the bound ones, or their shapes.
      options: options of the compiler.
    """

    program: functools.partial
    arguments: tuple
    options: dict

    @property
    def all_arguments(self) -> tuple:
        return *self.program.args, *self.arguments


class CompilePlan(NamedTuple):
    """What is about to be compiled, for a display.

    Attributes:
      names: of the programs, in the order in which they are traced.
      cached: names of those that the cache holds.
      seconds: seconds that the same programs took the last time, or None.
    """

    names: tuple[str, ...]
    cached: frozenset[str]
    seconds: float | None


# Called with (name, stage): "tracing", "compiling", "ready".
OnStage = Callable[[str, str], None]
# A plan -> a context that gives the function to call.
CompileMonitor = Callable[[CompilePlan], AbstractContextManager[OnStage]]


# (name, request) -> the compiled program of all its arguments, or None.
LoadProgram = Callable[[str, ProgramRequest], Callable | None]
_LOAD: contextvars.ContextVar[LoadProgram] = contextvars.ContextVar(
    "where compiled programs come from", default=lambda name, request: None
)


@contextlib.contextmanager
def loaded_by(load: LoadProgram) -> Iterator[None]:
    """Context in which programs that were compiled elsewhere are not compiled.

    Args:
      load: asked for each program; where it returns None, the program is compiled.
    """
    token = _LOAD.set(load)
    try:
        yield
    finally:
        _LOAD.reset(token)


def unmonitored(plan: CompilePlan) -> AbstractContextManager[OnStage]:
    """A `CompileMonitor` that shows nothing."""
    del plan
    return contextlib.nullcontext(lambda name, stage: None)


class Flat(NamedTuple):
    """A compiled program of flat leaves, with the interface of the traced one.

    Attributes:
      compiled: takes and returns leaves.
      result: tree structure of the results.
    """

    compiled: jax.stages.Compiled
    result: PyTree

    def __call__(self, *arguments) -> PyTree:
        leaves = self.compiled(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(self.result, leaves)

    def memory_analysis(self) -> Any:
        """Returns the memory that XLA reserves for a call."""
        return self.compiled.memory_analysis()


def compile_all(
    requests: Mapping[str, ProgramRequest],
    identity: Mapping[str, Any] | None,
    monitor: CompileMonitor = unmonitored,
) -> dict[str, functools.partial]:
    """Compiles every program for arguments of the requested shapes.

    Args:
      requests: name -> program; put the one that compiles longest first.
      identity: what the programs depend on besides their arguments and this package's
        source, as JSON; None neither reads nor writes the cache.
      monitor: called with the progress of the compilation, by several threads.

    Raises:
      OutOfMemoryError: the compiler ran out of memory; with the program's name.
    """
    keys = {}
    if identity is not None:
        around = _surroundings() | {"identity": identity}
        keys = {name: _key(name, one, around) for name, one in requests.items()}
    loaded = _loaded(requests)
    stored = {name for name, key in keys.items() if _is_stored(key)}
    cached = frozenset(stored | loaded.keys())
    times = None if identity is None else program_store.cache_folder()
    task, started = _task(requests, cached), time.monotonic()
    plan = CompilePlan(tuple(requests), cached, compile_times.recall(times, task))
    with monitor(plan) as on_stage:
        for name in loaded:
            on_stage(name, "ready")
        rest = {name: one for name, one in requests.items() if name not in loaded}
        programs = loaded | _compile_side_by_side(rest, keys, on_stage)
    compile_times.remember(times, task, time.monotonic() - started)
    for name, key in keys.items():
        _remember(key, programs[name])
    return {
        name: functools.partial(programs[name], *one.program.args)
        for name, one in requests.items()
    }


def _loaded(requests: Mapping[str, ProgramRequest]) -> dict[str, Callable]:
    """The programs that `loaded_by` has, by name."""
    programs = {name: _LOAD.get()(name, one) for name, one in requests.items()}
    return {name: found for name, found in programs.items() if found is not None}


def _compile_side_by_side(requests, keys: dict[str, str], on_stage: OnStage) -> dict:
    """Compiled programs by name; the next one is traced while one compiles."""
    with ThreadPoolExecutor(max(1, len(requests))) as pool:
        compiling = {}
        for name, request in requests.items():
            on_stage(name, "tracing")
            make = _kept(request, keys[name]) if name in keys else _plain(request)
            finish = make()
            on_stage(name, "compiling")
            compiling[name] = pool.submit(_finished, finish, name, on_stage)
        programs = {}
        for name, future in compiling.items():
            with out_of_memory_in(name):
                programs[name] = future.result()
    return programs


def _finished(finish: Callable, name: str, on_stage: OnStage) -> Callable:
    program = finish()
    on_stage(name, "ready")
    return program


def _is_stored(key: str) -> bool:
    """Whether this process or the disk holds a program, as far as one can see."""
    return key in _REMEMBERED or program_store.holds(key)


def _task(requests: Mapping[str, ProgramRequest], cached: frozenset[str]) -> str:
    """A key of the same programs on the same device, whatever the source is."""
    parts = [
        [name, str(jax.tree.structure(one.arguments)), _shapes(one), name in cached]
        for name, one in requests.items()
    ]
    device = jax.devices()[0].device_kind
    return hashlib.sha256(json.dumps([parts, device]).encode()).hexdigest()


def _shapes(request: ProgramRequest) -> list:
    leaves = jax.tree.leaves(request.all_arguments)
    return [(str(leaf.dtype), leaf.shape) for leaf in leaves]


def _plain(request: ProgramRequest) -> Callable[[], Callable]:
    """Returns a function that traces; its result compiles, in another thread."""
    return lambda: request.program.func.lower(*request.all_arguments).compile


def _kept(request: ProgramRequest, key: str) -> Callable[[], Callable]:
    """The same for a program that this process or the disk may hold under a key."""

    def make():
        if key in _REMEMBERED:
            return lambda: _REMEMBERED[key]
        lowered = program_store.read(key)
        if lowered is None:
            try:
                lowered = _lower(request)
            except Exception:  # `jax.export` supports fewer programs than JAX
                return _plain(request)()
            program_store.write(lowered, key)
        leaves = jax.tree.leaves(request.all_arguments)
        return functools.partial(_compile, lowered, leaves, request.options)

    return make


def _lower(request: ProgramRequest) -> Lowered:
    program, arguments = request.program.func, request.all_arguments
    traced = program.trace(*arguments)  # the next line finds it in JAX's cache
    exported = export.export(program)(*arguments)
    donated = [info.donated for info in jax.tree.leaves(traced.args_info)]
    # flat leaves, since records would have to be registered with `jax.export`
    flat = dataclasses.replace(
        exported,
        in_tree=jax.tree.structure(((0,) * len(donated), {})),
        out_tree=jax.tree.structure((0,) * len(exported.out_avals)),
    )
    positions = tuple(i for i, consumed in enumerate(donated) if consumed)
    return Lowered(flat, positions, jax.tree.structure(traced.out_info))


@pinned()
def _compile(lowered: Lowered, leaves: list, options: dict) -> Flat:
    """Compiles the program, or reads the executable from JAX's cache."""

    def run(*leaves):
        return lowered.exported.call(*leaves)

    run.__name__ = lowered.exported.fun_name
    program = jax.jit(
        run,
        donate_argnums=lowered.donated,
        compiler_options=options,
    )
    return Flat(program.lower(*leaves).compile(), lowered.result)


def _key(name: str, request: ProgramRequest, surroundings: dict) -> str:
    structure = str(jax.tree.structure(request.all_arguments))
    parts = surroundings | {"name": name, "arguments": [structure, _shapes(request)]}
    parts["options"] = request.options
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _surroundings() -> dict:
    """Everything that a program depends on besides what it computes."""
    packages = ("jax", "jaxlib", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "source": _SOURCE,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "settings": {
            name: str(value)
            for name, value in jax.config.values.items()
            if not any(word in name for word in ("cache", "log", "compiler_stderr"))
        },
        "flags": [os.environ.get(name) for name in FLAGS],
        "device": [jax.default_backend(), device.device_kind, jax.device_count()],
        "target": lowering.target_backend(),
        "memory": free_bytes(),  # chunks depend on it
    }


def _source_digest() -> str:
    """Sha256 over all modules of this package: any line may change any program."""
    package = pathlib.Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Computed when this module is imported, not when the first program is compiled: edits
# made in between are no part of this process's programs.
_SOURCE = _source_digest()


def _remember(key: str, program: Callable) -> None:
    _REMEMBERED.pop(key, None)
    _REMEMBERED[key] = program
    while len(_REMEMBERED) > KEPT:
        del _REMEMBERED[next(iter(_REMEMBERED))]
