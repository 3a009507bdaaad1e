"""Says how large the searches and trainings of ten_systems.py are.

In the rows "common" all methods share space, supernet, split, weight steps and their
schedule, batch statistics, and the images by which they choose. What is left to a
method is its rule, and to P-DARTS the stages of its supernet. The rows "as published"
take the space, the supernet and the options that a method was published with, at the
same epochs and batches.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import forks
from methods import Settings


class Size(NamedTuple):
    """How large searches and trainings are.

    Attributes:
      preset: of both.
      search: settings of every search.
      own: method -> its settings, with which it takes `budget` images to choose.
      published: method -> settings of its row "as published" that depend on the size.
      budget: forward passes of one image, see search_cost.py.
      train: settings of every training.
      target: about so many weights has every trained network.
      tolerance: largest share by which it may have more or less.
      images: training images of a subset; 0 for the whole data set.
      side: pixels to which the images of a subset are averaged; None: as they are.
      num_train: images on which the weights of a search train.
      image_channels: of the images.
      seeds: default number of seeds.
    """

    preset: str
    search: Settings
    own: Mapping[str, Settings]
    published: Mapping[str, Settings]
    budget: int
    train: Settings
    target: int
    tolerance: float
    images: int
    side: int | None
    num_train: int
    image_channels: int
    seeds: int


def _own(**methods: dict[str, Any]) -> dict[str, Settings]:
    """Methods' options, as settings."""
    return {
        method: {f"strategy.{name}": value for name, value in options.items()}
        for method, options in methods.items()
    }


def _ranking(
    images: int, batches: int, **methods: dict[str, Any]
) -> dict[str, Settings]:
    """Options of methods that rank, whose ten best are ranked again on all images.

    Args:
      images: of a batch.
      batches: that hold the whole validation half.
      methods: method -> its own options.
    """
    shared = dict(fitness_batch_size=images, finalists=10, final_batches=batches)
    return _own(**{name: shared | options for name, options in methods.items()})


# What all sizes share: the answer of NSGA-II by fitness alone, since networks of equal
# size are compared; two edges a node from SNAS, as from all others.
SHARED: dict[str, Settings] = _own(nsga2=dict(point="best"), snas=dict(derive="two"))

# Images of half the side are shifted by half as many pixels.
HALF_CROPS = {"data.pad": 2}

SIZES = {
    # 22 weight steps in each of 9 epochs
    "tiny": Size(
        preset="digits",
        search={
            "epochs": 9,
            "supernet.channels": 4,
            "steps_per_call": 22,
        },
        own=_own(
            egnas=dict(
                warmup=3, population=10, samples=3, generations=3, fitness_batch_size=64
            ),
            random_search=dict(candidates=65, fitness_batch_size=64),
            darts=dict(batch_size=64, learning_rate=3e-2),
            pc_darts=dict(warmup=3, batch_size=96, learning_rate=1.5e-2),
            p_darts=dict(
                warmup=1, batch_size=96, learning_rate=5e-2, added_layers="0,1,2"
            ),
            snas=dict(temperature_epochs=9, learning_rate=3e-2),
            enas=dict(samples=10, steps=6, finalists=6, batch_size=64),
            nasnet_ppo=dict(samples=20, steps=3, finalists=5, batch_size=64),
        )
        | _ranking(
            images=72,
            batches=10,
            ageing_evolution=dict(
                population=36, tournament=9, children=12, generations=33
            ),
            nsga2=dict(population=24, offspring=24, generations=17),
            epcnas_pso=dict(particles=16, generations=26),
        ),
        published=_own(snas=dict(learning_rate=0.18)),
        budget=38_016,
        train={"network.layers": 3, "epochs": 6},
        target=100_000,
        tolerance=0.06,
        images=0,
        side=None,
        num_train=719,
        image_channels=1,
        seeds=5,
    ),
    # 50 weight steps in each of 9 epochs
    "small": Size(
        preset="cifar10",
        search={
            "epochs": 9,
            "supernet.channels": 8,
            "supernet.layers": 5,
            "supernet.partial_channels": 2,
            "batch_size": 50,
            "learning_rate": 0.05,
            **HALF_CROPS,
        },
        own=_own(
            egnas=dict(
                warmup=3, population=24, samples=3, generations=2, fitness_batch_size=96
            ),
            random_search=dict(candidates=99, fitness_batch_size=96),
            darts=dict(batch_size=64, learning_rate=1.3e-2),
            pc_darts=dict(warmup=3, batch_size=96, learning_rate=6.8e-3),
            p_darts=dict(
                warmup=1, batch_size=96, learning_rate=2.3e-2, added_layers="0,1,2"
            ),
            snas=dict(
                alpha_optimizer="adam", temperature_epochs=9, learning_rate=1.3e-2
            ),
            enas=dict(
                learning_rate=0.03, samples=10, steps=9, finalists=10, batch_size=96
            ),
            nasnet_ppo=dict(
                learning_rate=1e-2, samples=20, steps=4, finalists=19, batch_size=96
            ),
        )
        | _ranking(
            images=128,
            batches=20,
            ageing_evolution=dict(
                population=40, tournament=10, children=20, generations=22
            ),
            nsga2=dict(population=30, offspring=30, generations=15),
            epcnas_pso=dict(particles=20, generations=23),
        ),
        published=_own(snas=dict(learning_rate=7.8e-2)),
        budget=86_400,
        train={**forks.CIFAR10_SMALL_TRAINING, **HALF_CROPS, "data.cutout": 8},
        target=100_000,
        tolerance=0.08,
        images=5_000,
        side=16,
        num_train=2_500,
        image_channels=3,
        seeds=3,
    ),
    # 97 weight steps in each of 50 epochs
    "full": Size(
        preset="cifar10",
        search={},
        own=_own(
            random_search=dict(candidates=320),
            darts=dict(batch_size=141, learning_rate=1.2e-3),
            pc_darts=dict(batch_size=202),
            p_darts=dict(batch_size=244, learning_rate=2.5e-3),
            enas=dict(steps=25, finalists=7),
            nasnet_ppo=dict(steps=12, finalists=16),
            ageing_evolution=dict(generations=214),
            nsga2=dict(generations=87),
            epcnas_pso=dict(generations=176),
        ),
        published=_own(snas=dict(learning_rate=7.2e-3)),
        budget=2_056_320,
        train={},
        target=3_349_342,
        tolerance=0.03,
        images=0,
        side=None,
        num_train=25_000,
        image_channels=3,
        seeds=3,
    ),
}
