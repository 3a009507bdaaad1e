"""The configuration of a retraining, and its schedules."""

import dataclasses
import math

from egnas_jax.data.config import DataConfig
from egnas_jax.lookup import lookup
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.precision import check_precision
from egnas_jax.training.sgd import SGD

SCHEDULES = {
    "cosine": "half a cosine from learning_rate to learning_rate_min",
    "linear": "a line to the last 5 epochs, then a flatter one to 0 (ImageNet)",
}
TAIL = 5  # epochs of the flatter end of a linear schedule


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """A whole retraining.

    Attributes:
      data, network: see there.
      genotype: text of the cells.
      init_from: run directory whose weights the network starts with, or None.
      seed: of every random stream but the split.
      split_seed: chooses validation images, and the test images of a data set that has
        none of its own; a search calls it `seed`. One for all seeds of a table.
      valid_share: of the training images, kept for validation; 0 trains on all, as the
        published figures do.
      epochs, batch_size, momentum, weight_decay, clip_norm: of SGD. The short last
        batch of an epoch is left out.
      learning_rate, learning_rate_min, schedule, warmup: of an epoch; the first
        `warmup` epochs rise linearly.
      auxiliary_weight: of the auxiliary head's loss.
      label_smoothing: share of a label that is spread over all classes.
      precision: of the activations in training steps, "float32" or "bfloat16"
        (nn/precision.py); weights, statistics, loss and evaluation stay float32.
      stream: images are read and sent while training runs, for data that do not fit
        the device; else all lie there. The batches are the same.
      image_size: side to which a random part of each training image is resized, and
        the middle of each other one; None takes images as they are. Needs `stream`.
      accumulate: parts in which a batch is worked off where memory is short; each has
        its own batch statistics.
      evaluate_every: epochs from one evaluation, record and checkpoint to the next.
      steps_per_call: largest number of steps in one call of the device, which may span
        epochs up to the next evaluation; no result depends on it.
      eval_batch_size: images given to the device at a time in evaluations; no result
        depends on it.
      keep_checkpoints: how many stay.

    Raises:
      ValueError: a number out of its range, or an unknown choice.
    """

    data: DataConfig
    network: NetworkConfig
    genotype: str
    init_from: str | None = None
    seed: int = 0
    split_seed: int = 0
    valid_share: float = 0.0
    epochs: int = 600
    batch_size: int = 96
    learning_rate: float = 0.025
    learning_rate_min: float = 0.0
    schedule: str = "cosine"
    warmup: int = 0
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    auxiliary_weight: float = 0.4
    label_smoothing: float = 0.0
    precision: str = "float32"
    stream: bool = False
    image_size: int | None = None
    accumulate: int = 1
    evaluate_every: int = 1
    steps_per_call: int = 64
    eval_batch_size: int = 256
    keep_checkpoints: int = 2

    def __post_init__(self):
        lookup(SCHEDULES, self.schedule, "schedule")
        check_precision("precision", self.precision)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(
                    f"{name} is {value}, but must be from {least} to {most}."
                )
        self._check_images()
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}, but must be divisible by "
                f"accumulate, {self.accumulate}: change one of the two."
            )
        self._check_schedule()

    def _check_schedule(self):
        if self.learning_rate_min > self.learning_rate:
            raise ValueError(
                f"learning_rate_min is {self.learning_rate_min}, but must be at most "
                f"learning_rate, {self.learning_rate}: rates fall to it."
            )
        if self.schedule == "linear" and self.learning_rate_min:
            raise ValueError(
                f"learning_rate_min is {self.learning_rate_min}, but a linear schedule "
                f"falls to 0. Set schedule=cosine, or leave learning_rate_min out."
            )
        if self.schedule == "linear" and self.epochs <= TAIL:
            raise ValueError(
                f"epochs is {self.epochs}, but a linear schedule needs more than "
                f"{TAIL}. Set schedule=cosine, or more epochs."
            )

    def _check_images(self):
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(
                f"image_size is {self.image_size}, but must be at least 1, or none."
            )
        large = self.data.name == "imagenet" and self.data.path is None
        if large and not (self.stream and self.image_size):
            raise ValueError(
                f"stream is {self.stream} and image_size {self.image_size}, but "
                f"imagenet has too many images for a device, of many sizes. Set "
                f"stream=true and image_size=224."
            )
        if self.image_size is not None and not self.stream:
            raise ValueError(
                f"image_size is {self.image_size}, but images are resized on the host "
                f"alone. Set stream=true, or leave image_size out."
            )

    @property
    def sgd(self) -> SGD:
        """The part that trains the weights."""
        return SGD(**{name: getattr(self, name) for name in SGD._fields})


_LARGE = 2**31 - 1
_RANGES = {
    "seed": (0, _LARGE),
    "split_seed": (0, _LARGE),
    "valid_share": (0.0, 0.9),
    "epochs": (1, 100_000),
    "batch_size": (2, _LARGE),
    "learning_rate": (1e-12, 1e9),
    "learning_rate_min": (0.0, 1e9),
    "warmup": (0, _LARGE),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1e9),
    "clip_norm": (1e-12, 3e38),
    "auxiliary_weight": (0.0, 1e9),
    "label_smoothing": (0.0, 0.999),
    "accumulate": (1, _LARGE),
    "evaluate_every": (1, _LARGE),
    "steps_per_call": (1, 100_000),
    "eval_batch_size": (1, _LARGE),
    "keep_checkpoints": (1, _LARGE),
}


def learning_rate(config: RetrainConfig, epoch: int) -> float:
    """Of an epoch counted from 0.

    Source: the cosine of torch, stepped by epochs; `adjust_lr` of PC-DARTS on ImageNet.
    """
    first, epochs = config.learning_rate, config.epochs
    if epoch < config.warmup:
        return first * (epoch + 1) / config.warmup
    if config.schedule == "cosine":
        span = first - config.learning_rate_min
        share = (1 + math.cos(math.pi * epoch / epochs)) / 2
        return config.learning_rate_min + span * share
    left = epochs - epoch
    if left > TAIL:
        return first * (left - TAIL) / (epochs - TAIL)
    return first * left / ((epochs - TAIL) * TAIL)


def drop_path(config: RetrainConfig, epoch: int) -> float:
    """Probability of dropping a path in an epoch: it rises linearly from 0."""
    return config.network.drop_path * epoch / config.epochs
