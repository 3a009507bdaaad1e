"""A trained network in forms that run without this package."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from egnas_jax.export.description import Finished, describe
from egnas_jax.export.onnx_graph import as_onnx
from egnas_jax.export.program import as_stablehlo
from egnas_jax.export.torch_weights import as_safetensors
from egnas_jax.lookup import lookup

__all__ = ["FORMATS", "Finished", "Format", "check_installed", "describe"]


class Format(NamedTuple):
    """One form.

    Attributes:
      write: `Finished` -> the bytes of the file.
      packages: that it needs; the extra `export` brings them.
      described: whether the file itself says what it is (`describe`).
    """

    write: Callable
    packages: tuple[str, ...]
    described: bool


FORMATS = {
    "safetensors": Format(as_safetensors, ("safetensors",), True),
    "stablehlo": Format(as_stablehlo, ("flatbuffers",), False),
    "onnx": Format(as_onnx, ("onnx",), True),
}


def check_installed(name: str) -> None:
    """Refuses a format whose packages are missing.

    Raises:
      ValueError: as said, or an unknown format.
    """
    packages = lookup(FORMATS, name, "format").packages
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        raise ValueError(
            f"--format {name} needs {', '.join(missing)}, which is not installed. "
            f"Install it by `pip install egnas-jax[export]`."
        )
