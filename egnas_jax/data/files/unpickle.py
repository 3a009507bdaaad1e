"""Reads pickled arrays without letting the pickle run code.

A pickle can call any function by name. Here it can only call what rebuilds a NumPy
array or an ordered dictionary; any other name is an error before it is looked up.
"""

import collections
import io
import pickle
from typing import Any

import numpy as np

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]


def _encode(text, encoding="latin1"):
    """`_codecs.encode`, restricted to latin1, with which Python 3 pickles bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refuses the encoding {encoding!r}")
    return text.encode("latin1")


# The official files were written by NumPy 1. NumPy 2 renamed `numpy.core`.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"refuses to load {module}.{name}")
        return _ALLOWED[module, name]


def load_pickled_arrays(data: bytes) -> Any:
    """Unpickles containers, numbers, text, bytes and NumPy arrays.

    Text that Python 2 pickled is returned as bytes.

    Raises:
      ValueError: the data are not a pickle, are truncated, or name anything else.
    """
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged stream can fail in any opcode
        raise ValueError(f"not a pickle of arrays ({error})") from error
