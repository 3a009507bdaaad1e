"""Exports trained networks in formats that run without this package."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from egnas_jax.export.description import Finished, describe
from egnas_jax.export.onnx_graph import as_onnx, check_onnx
from egnas_jax.export.program import as_stablehlo
from egnas_jax.export.torch_weights import as_safetensors
from egnas_jax.lookup import lookup

__all__ = ["FORMATS", "Finished", "Format", "check_installed", "describe"]


class Format(NamedTuple):
    """A file format.

    Attributes:
      write: `Finished` -> the bytes of the file.
      packages: packages that writing needs; the extra `export` installs them.
      described: whether the file contains its own description (`describe`).
      check: refuses a network that it cannot hold, by a ValueError.
    """

    write: Callable[[Finished], bytes]
    packages: tuple[str, ...]
    described: bool
    check: Callable[[Finished], None] = lambda finished: None


FORMATS = {
    "safetensors": Format(as_safetensors, ("safetensors",), True),
    "stablehlo": Format(as_stablehlo, ("flatbuffers",), False),
    "onnx": Format(as_onnx, ("onnx",), True, check_onnx),
}


def check_installed(name: str) -> None:
    """Refuses a format whose packages are not installed.

    Raises:
      ValueError: a package is missing, or the format is unknown.
    """
    packages = lookup(FORMATS, name, "format").packages
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        raise ValueError(
            f"--format {name} needs {', '.join(missing)}, which is not installed. "
            f"Install it by `pip install egnas-jax[export]`."
        )
