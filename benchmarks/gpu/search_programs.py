"""Lists the programs that an epoch or a whole search compiles, without its images."""

import pathlib
import tempfile

import numpy as np

from benchmarks import epoch, packed_images
from benchmarks.gpu.sizes import Size
from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files.layouts import LAYOUTS
from egnas_jax.runs.search_config import SearchConfig, search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.search import search_run
from egnas_jax.training.program_cache import ProgramRequest

NAMES = "train", "evolve", "validate"  # of the programs
CLASSES = 10


def config_of(size: Size, variant: str) -> SearchConfig:
    """The configuration of a whole search."""
    preset, settings = size.searches
    return search_config(preset, variant=variant, settings=settings)


def of_search(size: Size, variant: str) -> dict[str, ProgramRequest]:
    """The programs of a whole search, by name."""
    config = config_of(size, variant)
    if config.data.name == "digits":
        return search_run.requests(set_up_search(config).run)
    with tempfile.TemporaryDirectory() as folder:
        write_blank_cifar10(pathlib.Path(folder))
        return search_run.requests(set_up_search(config, data_dir=folder).run)


def of_epoch(size: Size, precision: str) -> dict[str, ProgramRequest]:
    """The programs of an epoch of the default search, by name."""
    plan = epoch.in_precision(size.plan, precision)
    blank = np.zeros((2 * plan.images, plan.side, plan.side, 3), np.uint8)
    run = epoch.make_run(plan, blank, np.zeros(len(blank), np.int32))
    return search_run.requests(run)


def write_blank_cifar10(folder: pathlib.Path) -> None:
    """Writes official files with as many images as CIFAR-10 has, all black."""
    layout = LAYOUTS["cifar10"][0]
    count = sum(packed_images.counts(layout).values())
    blank = np.zeros((count, 32, 32, 3), np.uint8)
    labels = (np.arange(count) % CLASSES).astype(np.uint8)
    packed_images.write_official(LabelledImages(blank, labels), folder, layout)
