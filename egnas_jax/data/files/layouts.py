"""Describes the official CIFAR files and finds them in a directory.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import pathlib
from typing import NamedTuple


class Layout(NamedTuple):
    """One of the two official file layouts of a data set.

    Attributes:
      folder: name of the folder, on disk and inside the archive.
      archive: name of the tar.gz.
      binary: whether the files hold fixed-length records; if not, Python pickles.
      train, test: names of the files, in order.
      train_records, test_records: images per file.
      label_keys: the labels of an image, in the order of a binary record; also the keys
        of a pickle.
      num_classes: number of classes of each label key.
    """

    folder: str
    archive: str
    binary: bool
    train: tuple[str, ...]
    test: tuple[str, ...]
    train_records: int
    test_records: int
    label_keys: tuple[str, ...]
    num_classes: tuple[int, ...]


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_CIFAR10_BINARY = Layout(
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    binary=True,
    train=tuple(f"{name}.bin" for name in _BATCHES),
    test=("test_batch.bin",),
    train_records=10_000,
    test_records=10_000,
    label_keys=("labels",),
    num_classes=(10,),
)
_CIFAR10_PYTHON = _CIFAR10_BINARY._replace(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    binary=False,
    train=_BATCHES,
    test=("test_batch",),
)
_CIFAR100_BINARY = Layout(
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    binary=True,
    train=("train.bin",),
    test=("test.bin",),
    train_records=50_000,
    test_records=10_000,
    label_keys=("coarse_labels", "fine_labels"),
    num_classes=(20, 100),
)
_CIFAR100_PYTHON = _CIFAR100_BINARY._replace(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    binary=False,
    train=("train",),
    test=("test",),
)
LAYOUTS = {
    "cifar10": (_CIFAR10_BINARY, _CIFAR10_PYTHON),
    "cifar100": (_CIFAR100_BINARY, _CIFAR100_PYTHON),
}

# Names of the classes in the order of their labels, from `batches.meta.txt`,
# `fine_label_names.txt` and `coarse_label_names.txt` of the archives.
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge
bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud
cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox
girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables
household_electrical_devices household_furniture insects large_carnivores
large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles
small_mammals trees vehicles_1 vehicles_2
"""
CLASS_NAMES = {"cifar10": tuple(_CIFAR10.split()), "cifar100": tuple(_FINE.split())}
CIFAR100_COARSE_NAMES = tuple(_COARSE.split())


def find_official(
    directory: pathlib.Path, layouts: tuple[Layout, ...]
) -> tuple[pathlib.Path, Layout] | None:
    """Finds official files in a directory, which may itself be one of their folders.

    An incomplete folder counts, so that reading it reports what is missing.

    Args:
      directory: where to look.
      layouts: in order of preference; folders come before archives.

    Returns:
      The folder or archive and its layout, or None if there is none.
    """
    for layout in layouts:
        if (directory / layout.folder).is_dir():
            return directory / layout.folder, layout
    for layout in layouts:
        has_files = any((directory / name).is_file() for name in layout.train)
        if directory.name == layout.folder or has_files:
            return directory, layout
    for layout in layouts:
        if (directory / layout.archive).is_file():
            return directory / layout.archive, layout
    return None
