"""Forms of the official CIFAR files, and finding one in a directory.

Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import pathlib
from typing import NamedTuple


class Layout(NamedTuple):
    """One official form of one data set.

    Attributes:
      folder: its name, also inside the archive.
      archive: name of the tar.gz.
      binary: raw records, or else python pickles.
      train, test: file names in order.
      train_records, test_records: images per file.
      label_keys: the labels of an image in the order of a binary record; in a pickle
        they are the keys.
      num_classes: per label key.
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
_COARSE_AND_FINE = ("coarse_labels", "fine_labels")

LAYOUTS = {
    "cifar10": (
        Layout(
            folder="cifar-10-batches-bin",
            archive="cifar-10-binary.tar.gz",
            binary=True,
            train=tuple(f"{name}.bin" for name in _BATCHES),
            test=("test_batch.bin",),
            train_records=10_000,
            test_records=10_000,
            label_keys=("labels",),
            num_classes=(10,),
        ),
        Layout(
            folder="cifar-10-batches-py",
            archive="cifar-10-python.tar.gz",
            binary=False,
            train=_BATCHES,
            test=("test_batch",),
            train_records=10_000,
            test_records=10_000,
            label_keys=("labels",),
            num_classes=(10,),
        ),
    ),
    "cifar100": (
        Layout(
            folder="cifar-100-binary",
            archive="cifar-100-binary.tar.gz",
            binary=True,
            train=("train.bin",),
            test=("test.bin",),
            train_records=50_000,
            test_records=10_000,
            label_keys=_COARSE_AND_FINE,
            num_classes=(20, 100),
        ),
        Layout(
            folder="cifar-100-python",
            archive="cifar-100-python.tar.gz",
            binary=False,
            train=("train",),
            test=("test",),
            train_records=50_000,
            test_records=10_000,
            label_keys=_COARSE_AND_FINE,
            num_classes=(20, 100),
        ),
    ),
}

# The names of the classes in the order of their labels, as `batches.meta.txt`,
# `fine_label_names.txt` and `coarse_label_names.txt` of the archives list them.
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
CIFAR10 = tuple(_CIFAR10.split())
CIFAR100 = tuple(_FINE.split())
CIFAR100_COARSE = tuple(_COARSE.split())


def find_official(
    directory: pathlib.Path, layouts: tuple[Layout, ...]
) -> tuple[pathlib.Path, Layout] | None:
    """(folder or archive, its layout) of the first form that `directory` holds or is.

    A folder that is there but incomplete is found too: reading it says what it lacks.
    """
    for layout in layouts:
        if (directory / layout.folder).is_dir():
            return directory / layout.folder, layout
    for layout in layouts:
        is_it = directory.name == layout.folder
        if is_it or any((directory / name).is_file() for name in layout.train):
            return directory, layout
    for layout in layouts:
        if (directory / layout.archive).is_file():
            return directory / layout.archive, layout
    return None
