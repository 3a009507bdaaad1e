"""The configuration of a search in a table, and grids over its numbers."""

import dataclasses
import itertools

from egnas_jax.lookup import lookup
from egnas_jax.settings import apply_overrides
from egnas_jax.strategies.egnas.config import SWEPT, EGNASConfig
from egnas_jax.studies.nasbench201.methods import METHODS, AgeingConfig, RandomConfig
from egnas_jax.studies.nasbench201.table import DATASETS

# options of EG-NAS that speak of images and of training, which a table has not
IMAGELESS = (
    "order",
    "learning_rate_epoch",
    "last_batch",
    "split",
    "augment_valid",
    "alpha_in_clip",
    "warmup",
    "fitness_batch_size",
    "fitness_batches",
    "batch_stats",
    "population_chunk",
    "image_chunk",
)
LARGEST = {"runs": 10**6, "queries": 10**6, "seed": 2**31 - 1}
MAX_SETTINGS = 1000
# A few generations of a small population: explorations of the paper's size would leave
# two steps of alpha to a thousand queries.
SIZES = dict(population=16, samples=2, generations=2)


@dataclasses.dataclass(frozen=True)
class TableSearchConfig:
    """Searches in a table.

    Attributes:
      egnas, random_search, ageing_evolution: the methods' own settings.
      dataset: a name of `DATASETS`.
      runs: of every method and setting, each with a seed of its own.
      queries: cells evaluated in a run.
      seed: of every random stream.

    Raises:
      ValueError: an unknown data set or a number out of its range.
    """

    egnas: EGNASConfig
    random_search: RandomConfig = RandomConfig()
    ageing_evolution: AgeingConfig = AgeingConfig()
    dataset: str = "cifar10"
    runs: int = 500
    queries: int = 1000
    seed: int = 0

    def __post_init__(self):
        lookup(DATASETS, self.dataset, "data set of the table")
        for name, least in (("runs", 1), ("queries", 1), ("seed", 0)):
            if not least <= getattr(self, name) <= LARGEST[name]:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but must be from {least} to "
                    f"{LARGEST[name]}."
                )


def build(variant: str | None, overrides: list[str]) -> TableSearchConfig:
    """The configuration that a command line names.

    Args:
      variant: of EG-NAS; None is "paper", in explorations of `SIZES`.
      overrides: "path=value" each; paths begin with the method's name.

    Raises:
      ValueError: an unknown name or path, a value of the wrong type or range, or one
        that means nothing without images.
    """
    for entry in overrides:
        _check_meaning(entry)
    egnas = EGNASConfig.variant(variant or "paper")
    sizes = {k: v for k, v in SIZES.items() if variant is None or k != "generations"}
    base = TableSearchConfig(dataclasses.replace(egnas, **sizes))
    return apply_overrides(base, overrides)


def grid(config: TableSearchConfig, sweeps: list[str]) -> list[dict[str, float]]:
    """Every combination of the swept numbers of EG-NAS; one empty one without any.

    Args:
      config: what else holds.
      sweeps: "egnas.NAME=V1,V2,..." each, NAME of `SWEPT`.

    Raises:
      ValueError: another path, a value out of range, or too many combinations.
    """
    axes = {}
    for entry in sweeps:
        path, _, values = entry.partition("=")
        method, _, name = path.partition(".")
        if method != "egnas" or name not in SWEPT or not values:
            raise ValueError(
                f"--sweep takes egnas.NAME=V1,V2,... with NAME of {', '.join(SWEPT)}, "
                f"got {entry!r}. Other settings change the program: use --set, one "
                f"command each."
            )
        if name in axes:
            raise ValueError(f"--sweep names {path} twice; give all values in one.")
        changed = [apply_overrides(config, [f"{path}={v}"]) for v in values.split(",")]
        axes[name] = [getattr(one.egnas, name) for one in changed]
    points = [
        dict(zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
    ]
    if len(points) > MAX_SETTINGS:
        raise ValueError(
            f"--sweep makes {len(points)} combinations; at most {MAX_SETTINGS} go "
            f"through one program."
        )
    return points


def chosen_methods(names: list[str]) -> list[str]:
    """Methods by name, all of them where none is named.

    Raises:
      ValueError: an unknown name.
    """
    for name in names:
        lookup(METHODS, name, "method of a table search")
    return list(dict.fromkeys(names)) or list(METHODS)


def _check_meaning(entry):
    method, _, name = entry.partition("=")[0].partition(".")
    if method == "egnas" and name in IMAGELESS:
        raise ValueError(
            f"egnas.{name} speaks of images or of training, and a table has neither: "
            f"leave it out."
        )
