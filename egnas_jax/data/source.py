"""From a configuration to images in memory: which places are looked at, in which order.

Plain numpy; the only module of the folder, with `prepare`, that the commands call to
read files.
"""

import pathlib
from collections.abc import Mapping

from egnas_jax.data.config import DataConfig, check_augmentation
from egnas_jax.data.dataset import CIFAR_MEAN, CIFAR_STD, Dataset
from egnas_jax.data.files import download, prepared
from egnas_jax.data.files.arrays import load_digits, load_npz
from egnas_jax.data.files.layouts import (
    CIFAR10,
    CIFAR100,
    LAYOUTS,
    Layout,
    find_official,
)
from egnas_jax.data.files.official import Images, read_official

CLASS_NAMES = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def load_dataset(
    config: DataConfig, data_dir: str | pathlib.Path | None = None, seed: int = 0
) -> Dataset:
    """Images and labels of the data set that the configuration names.

    `config.path` comes first. CIFAR is read from `data_dir` and nowhere else where that
    is given; otherwise from the directory of tensorflow-datasets, then from the
    download cache, and is downloaded last.

    Args:
      config: which data set; its crop and cutout must suit the images.
      data_dir: a folder with official CIFAR files (folder or tar.gz) or a prepared tfds
        data set, or one of these folders itself.
      seed: chooses the test images of `digits` and of an .npz without any.

    Raises:
      ValueError: nothing was found, or what was found is missing files, short, damaged
        or foreign; the message names the places and the ways out.
    """
    directory = None if data_dir is None else prepared.existing_directory(data_dir)
    if config.path is not None:
        dataset = load_npz(config.path, seed)
    elif config.name == "imagenet":
        raise ValueError(
            "imagenet does not fit in memory: it is read while it trains, which only "
            "`egnas retrain --preset imagenet` does (stream=true, image_size=224)."
        )
    elif config.name == "digits":
        dataset = load_digits(seed)
    else:
        dataset = load_cifar(config.name, directory)
    check_augmentation(config, *dataset.images.shape[1:])
    return dataset


def load_cifar(
    name: str,
    directory: pathlib.Path | None,
    layouts: Mapping[str, tuple[Layout, ...]] = LAYOUTS,
) -> Dataset:
    """CIFAR-10 or CIFAR-100 with its official test set.

    Args:
      name: "cifar10" or "cifar100".
      directory: the only place to look at, or None for the usual ones.
      layouts: forms of the official files.

    Raises:
      ValueError: as `load_dataset`.
    """
    if directory is None:
        train, test = _from_usual_places(name, layouts[name])
    else:
        train, test = _from_directory(name, directory, layouts[name])
    return Dataset(
        name=name,
        images=train.images,
        labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
        num_classes=len(CLASS_NAMES[name]),
        class_names=CLASS_NAMES[name],
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
        stratified=False,
    )


def _from_directory(name, directory, layouts) -> tuple[Images, Images]:
    """Official files before prepared ones: the same images, ten times faster."""
    if found := find_official(directory, layouts):
        return read_official(*found)
    if folder := prepared.find_prepared(directory, name):
        return prepared.read_prepared(folder, len(CLASS_NAMES[name]))
    looked_for = [f"{layout.folder}/" for layout in layouts]
    looked_for += [layout.archive for layout in layouts]
    raise ValueError(
        f"--data-dir {directory} holds no {name}: looked for {', '.join(looked_for)} "
        f"and {name}/VERSION/{prepared.INFO_FILE} (tfds). Put one of these there, or "
        "leave --data-dir out to download."
    )


def _from_usual_places(name, layouts) -> tuple[Images, Images]:
    tried = []
    tfds_dir = prepared.default_tfds_dir()
    folder = prepared.find_prepared(tfds_dir, name)
    if folder is None:
        tried.append(f"no {name} prepared in {tfds_dir}")
    else:
        try:
            return prepared.read_prepared(folder, len(CLASS_NAMES[name]))
        except ValueError as error:
            tried.append(str(error))
    archive = download.ARCHIVES[name]
    try:
        path = download.fetch(archive, download.cache_folder())
    except OSError as error:
        tried.append(f"{archive.url}: {error}")
        raise ValueError(
            f"{name} was not found and could not be downloaded. Tried: "
            f"{'; '.join(tried)}.\nWays out: --data-dir DIR with the official files "
            f"({', '.join(layout.archive for layout in layouts)}, or unpacked); "
            "`egnas data prepare` from such files; data.path=FILE.npz for images of "
            "your own; --preset digits needs no files."
        ) from error
    layout = next(form for form in layouts if form.archive == archive.file_name)
    return read_official(path, layout)
