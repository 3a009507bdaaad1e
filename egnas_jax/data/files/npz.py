"""Arrays of an .npz of the user's, or an error that says what is wrong with it."""

import pathlib
import zipfile
import zlib

import numpy as np

# damaged, encrypted, compressed in a way of its own, or with a shape beyond memory
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(
    path: pathlib.Path, wanted: tuple[str, ...], setting: str, form: str
) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that the file holds, by key.

    Args:
      path: of the .npz. Pickled contents are refused.
      wanted: keys; others are not looked at.
      setting: by which the path was given.
      form: what such a file holds, for the message.

    Raises:
      ValueError: the file is missing, empty, no .npz or damaged.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise ValueError(f"{setting}={path} {what}; it must name an .npz file.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes). {form}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or is cut short. {form}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in wanted if key in file.files}
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read: {error}. {form}") from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member that is no .npy comes as bytes
            raise ValueError(f"{path}: `{key}` is no array. {form}")
    return arrays
