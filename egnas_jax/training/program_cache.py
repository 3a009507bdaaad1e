"""Programs that are there before their first call: compiled side by side, traced once.

JAX traces a program in one thread and XLA compiles it in others, so while one program
compiles the next is traced. JAX's compilation cache keeps what XLA made, but asks for
the lowered program first, and to trace and lower a supernet takes longer than to read
its executable. So the lowered program is kept too (by `jax.export`), in a folder of
that cache, under a key that needs no tracing.

The key holds everything that a program is made of: what the caller says of it, the
arguments, the source of this package, the versions of what traces it, the settings of
JAX and XLA, and the device.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import pickle
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from egnas_jax.nn import lowering
from egnas_jax.training.out_of_memory import free_bytes, out_of_memory_in
from egnas_jax.types import PyTree

LIMIT = 2**27  # bytes of the folder; a program of a supernet takes one or two million
KEPT = 12  # programs that a process remembers, to run one configuration after another
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")  # variables of the compilers
_REMEMBERED: dict[str, Callable] = {}


class Request(NamedTuple):
    """A program that is wanted.

    Attributes:
      program: `functools.partial` of a function of `jax.jit`, as
        `search.weights.Programs` has it.
      arguments: those of a call that follow the bound ones, or their shapes.
    """

    program: functools.partial
    arguments: tuple

    @property
    def all_arguments(self) -> tuple:
        return *self.program.args, *self.arguments


class Lowered(NamedTuple):
    """A program that needs no tracing any more; it takes and gives flat leaves.

    Attributes:
      exported: the program.
      donated: positions of the leaves that a call consumes.
      result: structure of what it gives.
    """

    exported: export.Exported
    donated: tuple[int, ...]
    result: PyTree


class Flat(NamedTuple):
    """A compiled program of flat leaves; called and asked as the one that was traced.

    Attributes:
      compiled: takes and gives leaves.
      result: structure of what it gives.
    """

    compiled: jax.stages.Compiled
    result: PyTree

    def __call__(self, *arguments) -> PyTree:
        leaves = self.compiled(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(self.result, leaves)

    def memory_analysis(self):
        """What XLA reserves for a call."""
        return self.compiled.memory_analysis()


def compile_all(
    requests: Mapping[str, Request], identity: Mapping[str, Any] | None
) -> dict[str, functools.partial]:
    """Every program ready to be called; it takes arguments of these shapes alone.

    Args:
      requests: name -> program; the one that compiles longest comes first.
      identity: what the programs depend on that neither their arguments nor this
        package's source tell, as JSON; None traces them whatever is on disk.

    Raises:
      OutOfMemoryError: with the name, where the compiler runs out of memory.
    """
    if identity is None:
        making = {name: _plain(request) for name, request in requests.items()}
        keys = {}
    else:
        around = _surroundings() | {"identity": identity}
        keys = {name: _key(name, one, around) for name, one in requests.items()}
        making = {
            name: _kept(request, keys[name]) for name, request in requests.items()
        }
    found = {}
    with ThreadPoolExecutor(len(requests)) as pool:
        # the next program is traced here while the one before compiles there
        compiling = {name: pool.submit(make()) for name, make in making.items()}
        for name, future in compiling.items():
            with out_of_memory_in(name):
                found[name] = future.result()
    for name, key in keys.items():
        _remember(key, found[name])
    return {
        name: functools.partial(found[name], *one.program.args)
        for name, one in requests.items()
    }


def _plain(request: Request) -> Callable[[], Callable]:
    """() -> what a thread compiles: the program as JAX has it."""
    return lambda: request.program.func.lower(*request.all_arguments).compile


def _kept(request: Request, key: str) -> Callable[[], Callable]:
    """The same of a program that this process, the disk or later ones know by a key."""

    def make():
        if key in _REMEMBERED:
            return lambda: _REMEMBERED[key]
        lowered = _read(key)
        if lowered is None:
            try:
                lowered = _lower(request)
            except Exception:  # `jax.export` takes less than JAX itself does
                return _plain(request)()
            _write(lowered, key)
        return functools.partial(
            _compile, lowered, jax.tree.leaves(request.all_arguments)
        )

    return make


def _lower(request: Request) -> Lowered:
    program, arguments = request.program.func, request.all_arguments
    traced = program.trace(*arguments)  # which the next line does not do again
    exported = export.export(program)(*arguments)
    donated = [info.donated for info in jax.tree.leaves(traced.args_info)]
    # leaves instead of records, which would have to be made known to `jax.export`
    flat = dataclasses.replace(
        exported,
        in_tree=jax.tree.structure(((0,) * len(donated), {})),
        out_tree=jax.tree.structure((0,) * len(exported.out_avals)),
    )
    positions = tuple(i for i, consumed in enumerate(donated) if consumed)
    return Lowered(flat, positions, jax.tree.structure(traced.out_info))


def _compile(lowered: Lowered, leaves: list) -> Flat:
    """Compiled anew, or read from JAX's cache."""

    def run(*leaves):
        return lowered.exported.call(*leaves)

    run.__name__ = lowered.exported.fun_name
    program = jax.jit(
        run,
        donate_argnums=lowered.donated,
        compiler_options=lowering.compiler_options(),
    )
    return Flat(program.lower(*leaves).compile(), lowered.result)


def _key(name: str, request: Request, surroundings: dict) -> str:
    leaves, structure = jax.tree.flatten(request.all_arguments)
    shapes = [(str(leaf.dtype), leaf.shape) for leaf in leaves]
    parts = surroundings | {"name": name, "arguments": [str(structure), shapes]}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _surroundings() -> dict:
    """All that a program depends on beside what it computes."""
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
        "memory": free_bytes(),  # chunks are chosen by it
    }


def _source_digest() -> str:
    """Of every module of this package: a changed line may change any program."""
    package = pathlib.Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


# As the modules are loaded, and not when the first program is wanted: what is edited
# while data load is no part of this process's programs.
_SOURCE = _source_digest()


def _folder() -> pathlib.Path | None:
    """Beside JAX's own files; None where it has no local folder, or keeps nothing."""
    base = jax.config.jax_compilation_cache_dir
    if not base or "://" in base or not jax.config.jax_enable_compilation_cache:
        return None
    return pathlib.Path(base) / "lowered"


def _read(key: str) -> Lowered | None:
    """A program that an earlier process traced; None where there is none."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / key
    try:
        checksum, packed = path.read_bytes().split(b"\n", 1)
        if checksum.decode() != hashlib.sha256(packed).hexdigest():
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read
            os.utime(path)  # the least recently used goes first
        exported, donated, result = pickle.loads(packed)
        _find_lapack()
        return Lowered(export.deserialize(bytearray(exported)), donated, result)
    except Exception:  # missing, torn, or of a kind that cannot be read: traced anew
        return None


@functools.cache
def _find_lapack() -> None:
    """JAX looks LAPACK up when it lowers a call of it, and not when it reads one."""
    jax.jit(jnp.linalg.eigh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))


def _remember(key: str, program: Callable) -> None:
    _REMEMBERED.pop(key, None)
    _REMEMBERED[key] = program
    while len(_REMEMBERED) > KEPT:
        del _REMEMBERED[next(iter(_REMEMBERED))]


def _write(lowered: Lowered, key: str) -> None:
    """Keeps a program for later processes; without a word where that fails.

    Nothing but time is lost by it: a full disk must not end a search.
    """
    folder = _folder()
    if folder is None:
        return
    try:
        parts = lowered.exported.serialize(), lowered.donated, lowered.result
        packed = pickle.dumps(parts)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(folder / key, hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed)
        _make_room(folder)
    except Exception:
        return


def _put(path: pathlib.Path, data: bytes) -> None:
    """The whole file or none: a disk that is full is not filled by what it refuses."""
    file = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)  # noqa: SIM115
    try:
        with file:
            file.write(data)
        os.replace(file.name, path)
    except BaseException:
        os.unlink(file.name)
        raise


def _make_room(folder: pathlib.Path) -> None:
    """Deletes the least recently used files until the folder is within its limit."""
    files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    excess = sum(path.stat().st_size for path in files) - LIMIT
    for path in files:
        if excess <= 0:
            return
        excess -= path.stat().st_size
        path.unlink()
