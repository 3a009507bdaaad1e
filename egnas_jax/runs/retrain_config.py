"""Recipes of retraining: presets, and the configuration that a command line names."""

from typing import Any

from egnas_jax.data.config import DataConfig
from egnas_jax.lookup import lookup
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.retrain.config import RetrainConfig
from egnas_jax.settings import apply_overrides, check_types
from egnas_jax.space import Genotype, Topology

# Source: the DARTS family's train.py as EG-NAS and the report use it (cutout 16, drop
# path 0.3, 600 epochs); ImageNet as PC-DARTS and EG-NAS use it: 1024 images on 8 cards,
# each with its own batch statistics, as `accumulate` has them on one.
_CIFAR = dict(pad=4, flip=True, cutout=16)
RECIPES: dict[str, dict[str, Any]] = {
    "digits": dict(
        data=dict(name="digits", pad=1, flip=False),
        network=dict(channels=8, layers=5, auxiliary=False, drop_path=0.1),
        run=dict(epochs=30, batch_size=64, learning_rate=0.05),
    ),
    "cifar10": dict(data=dict(name="cifar10", **_CIFAR), network={}, run={}),
    "cifar100": dict(data=dict(name="cifar100", **_CIFAR), network={}, run={}),
    "imagenet": dict(
        data=dict(name="imagenet", pad=0, flip=True, colour_jitter=0.4),
        network=dict(channels=48, layers=14, drop_path=0.0, frame="imagenet"),
        run=dict(
            epochs=250,
            batch_size=1024,
            accumulate=8,
            learning_rate=0.5,
            schedule="linear",
            warmup=5,
            weight_decay=3e-5,
            label_smoothing=0.1,
            stream=True,
            image_size=224,
            steps_per_call=1,
        ),
    ),
}


def build(
    genotype: Genotype | Topology,
    preset: str = "digits",
    *,
    auxiliary: bool = True,
    init_from: str | None = None,
    overrides: list[str] | None = None,
) -> RetrainConfig:
    """The configuration that a command line names.

    Args:
      genotype: the cells.
      preset: a name of `RECIPES`.
      auxiliary: False leaves the auxiliary head out, whatever the preset says.
      init_from: run directory to take weights from, or None.
      overrides: "path=value" each, as of `--set`.

    Raises:
      ValueError: an unknown name or path, or a value of the wrong type or range; cells
        of NAS-Bench-201, whose networks the benchmark has trained already.
    """
    if isinstance(genotype, Topology):
        raise ValueError(
            f"{genotype.format()} is a cell of NAS-Bench-201. Its networks are trained "
            f"already, with the results in the benchmark's table, and this command "
            f"trains cells of the DARTS family: give one of those."
        )
    parts = lookup(RECIPES, preset, "preset")
    config = RetrainConfig(
        data=DataConfig(**parts["data"]),
        network=NetworkConfig(**parts["network"]),
        genotype=genotype.format(),
        init_from=init_from,
        **parts["run"],
    )
    bare = [] if auxiliary else ["network.auxiliary=false"]
    return apply_overrides(config, [*(overrides or []), *bare])


def from_dict(stored: dict[str, Any]) -> RetrainConfig:
    """A configuration as config.json holds it.

    Raises:
      ValueError, KeyError, TypeError: it is none, or a value has another type.
    """
    config = RetrainConfig(
        **{
            **stored,
            "data": DataConfig(**stored["data"]),
            "network": NetworkConfig(**stored["network"]),
        }
    )
    check_types(config, stored)
    Genotype.parse(config.genotype)
    return config
