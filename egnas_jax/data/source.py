"""Loads the data set that a configuration names into memory.

Commands read image files through this module and `prepare` alone. It does not need JAX.
"""

import pathlib
from collections.abc import Mapping

from egnas_jax.data.config import (
    DataConfig,
    check_augmentation,
    check_stated_classes,
)
from egnas_jax.data.dataset import CIFAR_MEAN, CIFAR_STD, Dataset, LabelledImages
from egnas_jax.data.files import download, prepared
from egnas_jax.data.files.arrays import load_digits, load_npz
from egnas_jax.data.files.layouts import CLASS_NAMES, LAYOUTS, Layout, find_official
from egnas_jax.data.files.official import read_official
from egnas_jax.data.location import located


def load_dataset(
    config: DataConfig, data_dir: str | pathlib.Path | None = None, seed: int = 0
) -> Dataset:
    """Loads the data set that the configuration names.

    `config.path` has priority over `config.name`; with `data_dir`, the file of that
    name in this folder is read. CIFAR is read from `data_dir` if that
    is given, and from nowhere else. Otherwise the tensorflow-datasets directory is
    tried first, then the download cache, and then the archive is downloaded.

    Args:
      config: names the data set; its crop and cutout must fit the images.
      data_dir: a directory with official CIFAR files (unpacked or tar.gz) or with a
        data set prepared by tfds, or the folder of either itself, or that of an .npz.
      seed: chooses the test images of `digits`, and of an .npz that has none.

    Raises:
      ValueError: the data are not found, or are incomplete, damaged or of another data
        set. The message names the places that were tried, and what to do.
    """
    directory = None if data_dir is None else prepared.existing_directory(data_dir)
    if config.path is not None:
        dataset = load_npz(
            located(config, data_dir).path,
            seed,
            classes=config.classes,
            layout=config.layout,
        )
    elif config.name == "imagenet":
        raise ValueError(
            "imagenet does not fit in memory: it is read while it trains, which only "
            "`egnas retrain --preset imagenet` does (stream=true, image_size=224)."
        )
    elif config.name == "digits":
        dataset = load_digits(seed)
    else:
        dataset = load_cifar(config.name, directory)
    if config.path is None:
        check_stated_classes(config, dataset.num_classes)
    check_augmentation(config, *dataset.images.shape[1:])
    return dataset


def seed_chooses_images(config: DataConfig) -> bool:
    """Whether another seed may hold other images out for testing.

    An .npz may have test images of its own, which only its contents tell.
    """
    return config.path is not None or config.name == "digits"


def load_cifar(
    name: str,
    directory: pathlib.Path | None,
    layouts: Mapping[str, tuple[Layout, ...]] = LAYOUTS,
) -> Dataset:
    """Loads CIFAR-10 or CIFAR-100 with its official test set.

    Args:
      name: "cifar10" or "cifar100".
      directory: the only place to look, or None for the usual places.
      layouts: layouts of the official files.

    Raises:
      ValueError: the data are not found, or are incomplete, damaged or of another data
        set.
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


def check_found(config: DataConfig, data_dir: str | pathlib.Path | None = None) -> None:
    """Refuses a place where `load_dataset` would not find the data; reads none of them.

    Where CIFAR may be downloaded, or ImageNet is read, nothing is looked for.

    Args:
      config, data_dir: see `load_dataset`.

    Raises:
      ValueError: the folder does not exist or holds no such data, or the .npz of
        `config.path` is not there.
    """
    directory = None if data_dir is None else prepared.existing_directory(data_dir)
    if config.path is not None:
        path = located(config, data_dir).path
        if not pathlib.Path(path).is_file():
            raise ValueError(
                f"This machine has no {path}, the file of data.path. Name the folder "
                f"that holds it here by --data-dir."
            )
    elif directory is not None and config.name in LAYOUTS:
        layouts = LAYOUTS[config.name]
        is_official = find_official(directory, layouts) is not None
        if not is_official and prepared.find_prepared(directory, config.name) is None:
            raise _not_found(config.name, directory, layouts)


def _from_directory(name, directory, layouts) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images; official files first, as they load ten times faster."""
    if source := find_official(directory, layouts):
        return read_official(*source)
    if folder := prepared.find_prepared(directory, name):
        return prepared.read_prepared(folder, len(CLASS_NAMES[name]))
    raise _not_found(name, directory, layouts)


def _not_found(name, directory, layouts) -> ValueError:
    candidates = [f"{layout.folder}/" for layout in layouts]
    candidates += [layout.archive for layout in layouts]
    return ValueError(
        f"The folder {directory} holds no {name}: looked for {', '.join(candidates)} "
        f"and {name}/VERSION/{prepared.INFO_FILE} (tfds). Put one of these there, or "
        "name no folder (--data-dir, data_dir) to download."
    )


def _from_usual_places(name, layouts) -> tuple[LabelledImages, LabelledImages]:
    """Training and test images from the tfds directory, the cache or a download."""
    failures = []
    tfds_dir = prepared.default_tfds_dir()
    folder = prepared.find_prepared(tfds_dir, name)
    if folder is None:
        failures.append(f"no {name} prepared in {tfds_dir}")
    else:
        try:
            return prepared.read_prepared(folder, len(CLASS_NAMES[name]))
        except ValueError as error:
            failures.append(str(error))
    archive = download.ARCHIVES[name]
    try:
        path = download.fetch(archive, download.cache_folder())
    except OSError as error:
        failures.append(f"{archive.url}: {error}")
        raise ValueError(
            f"{name} was not found and could not be downloaded. Tried: "
            f"{'; '.join(failures)}.\nWays out: --data-dir DIR with the official files "
            f"({', '.join(layout.archive for layout in layouts)}, or unpacked); "
            "`egnas data prepare` from such files; data.path=FILE.npz for images of "
            "your own; --preset digits needs no files."
        ) from error
    layout = next(each for each in layouts if each.archive == archive.file_name)
    return read_official(path, layout)
