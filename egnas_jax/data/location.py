"""Finds the .npz of a configuration where it lies now, and tells data from places."""

import dataclasses
import ntpath
import pathlib

from egnas_jax.data.config import DataConfig
from egnas_jax.data.files import prepared

# their channels are normalised by constants, and those of an .npz by its own statistics
_NORMALISED_BY_CONSTANTS = ("cifar10", "cifar100", "imagenet")


def located(
    config: DataConfig, data_dir: str | pathlib.Path | None = None
) -> DataConfig:
    """The configuration with the absolute path of its .npz; others are unchanged.

    Args:
      config: names the data. A `path` that a run stored may be of another machine.
      data_dir: the only folder to look in, for a file of the same name; None looks at
        the path itself.

    Raises:
      ValueError: the folder does not exist or holds no such file, or the file of a
        stored run is not where it was.
    """
    if config.path is None:
        return config
    path = pathlib.Path(config.path).expanduser()
    if data_dir is not None:
        directory = prepared.existing_directory(data_dir)
        name = ntpath.basename(config.path)  # of a path of Windows, too
        path = directory / name
        if not path.is_file():
            raise ValueError(
                f"--data-dir {data_dir} holds no {name}, the file of data.path. Put it "
                f"there, name the file itself by --set data.path=FILE.npz, or leave "
                f"--data-dir out to read {config.path}."
            )
    elif config.digest is not None and not path.exists():
        raise ValueError(
            f"data.path={config.path} does not exist. If the file was moved, give its "
            f"folder by --data-dir or the file by --set data.path=FILE.npz: data are "
            f"recognised by their digest, wherever they lie."
        )
    return dataclasses.replace(config, path=str(path.resolve()))


def same_data(old: DataConfig, new: DataConfig) -> bool:
    """Whether two configurations read the same images, wherever these lie.

    Equal digests prove it, unless constants normalise the images of one alone.

    Args:
      old, new: configurations of a stored run and of the one that is to go on.
    """
    if old.digest is None or old.digest != new.digest:
        return False
    return _constants(old) == _constants(new)


def _constants(data: DataConfig) -> str | None:
    """The data set whose constants normalise the images; None for their statistics."""
    is_named = data.path is None and data.name in _NORMALISED_BY_CONSTANTS
    return data.name if is_named else None
