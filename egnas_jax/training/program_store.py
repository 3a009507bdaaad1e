"""Stores lowered programs on disk, in a folder of JAX's compilation cache.

A file holds one program and its checksum, and is written as a whole or not at all.
Processes may share the folder: what cannot be read is traced again, and what cannot be
written costs only time.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import pickle
import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from egnas_jax.types import PyTree

LIMIT = 2**27  # bytes of the folder; a program of a supernet takes 1 to 2 million


class Lowered(NamedTuple):
    """A traced and lowered program, whose arguments and results are flat leaves.

    Attributes:
      exported: the program.
      donated: positions of the leaves that a call donates.
      result: tree structure of the results.
    """

    exported: export.Exported
    donated: tuple[int, ...]
    result: PyTree


def cache_folder() -> pathlib.Path | None:
    """JAX's folder of compiled programs; None where it has no local one."""
    base = jax.config.jax_compilation_cache_dir
    if not base or "://" in base or not jax.config.jax_enable_compilation_cache:
        return None
    return pathlib.Path(base)


def holds(key: str) -> bool:
    """Returns whether the disk holds a program under a key, as far as one can see."""
    folder = _folder()
    return folder is not None and (folder / key).is_file()


def _folder() -> pathlib.Path | None:
    """The folder of lowered programs, beside JAX's own files."""
    base = cache_folder()
    return None if base is None else base / "lowered"


def read(key: str) -> Lowered | None:
    """Reads a program that an earlier process traced; None where there is none."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / key
    try:
        checksum, packed = path.read_bytes().split(b"\n", 1)
        if checksum.decode() != hashlib.sha256(packed).hexdigest():
            return None
        with contextlib.suppress(OSError):  # the folder may be read-only
            os.utime(path)  # the least recently used file is deleted first
        exported, donated, result = pickle.loads(packed)
        _find_lapack()
        return Lowered(export.deserialize(bytearray(exported)), donated, result)
    except Exception:  # missing, damaged or unreadable: it is traced again
        return None


@functools.cache
def _find_lapack() -> None:
    """Makes JAX load LAPACK: it does so to lower a call, but not to read a program."""
    jax.jit(jnp.linalg.eigh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))


def write(lowered: Lowered, key: str) -> None:
    """Stores a program for later processes; does nothing where that fails.

    Only time is lost then: a full disk must not end a search.
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
    """Writes the whole file or none; leaves nothing on a full disk."""
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
