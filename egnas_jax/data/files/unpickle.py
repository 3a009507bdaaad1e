"""Reads pickled arrays without giving a pickle the power to run code.

A pickle may name any function to call. Here it may name only what rebuilds a numpy
array or an ordered dictionary; anything else is an error before it is looked up.
"""

import collections
import io
import pickle
from typing import Any

import numpy as np

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]


def _encode(text, encoding="latin1"):
    """`_codecs.encode` as Python 3 writes bytes into old pickles: latin1 alone."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refuses the encoding {encoding!r}")
    return text.encode("latin1")


# numpy 2 renamed `numpy.core`; the official files were written by numpy 1.
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
    """The object in `data`: containers, numbers, text, bytes and numpy arrays.

    Text of Python 2 comes back as bytes.

    Raises:
      ValueError: not a pickle, cut short, or it names anything else.
    """
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    # A damaged stream fails in whichever opcode it derails.
    except Exception as error:
        raise ValueError(f"not a pickle of arrays ({error})") from error
