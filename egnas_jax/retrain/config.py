"""Defines the configuration of a retraining and its schedules."""

import dataclasses

from egnas_jax.data.config import DataConfig
from egnas_jax.lookup import lookup
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.precision import check_precision
from egnas_jax.settings import (
    LARGEST_FLOAT,
    LARGEST_INT,
    check_field_types,
    check_ranges,
)
from egnas_jax.training import sgd
from egnas_jax.training.sgd import SGD, check_rates

SCHEDULES = {
    "cosine": "half a cosine from learning_rate to learning_rate_min",
    "linear": "a line to the last 5 epochs, then a flatter one to 0 (ImageNet)",
}
TAIL = 5  # epochs of the flatter end of a linear schedule

_RANGES = {
    "seed": (0, LARGEST_INT),
    "split_seed": (0, LARGEST_INT),
    "valid_share": (0.0, 0.9),
    "epochs": (1, 100_000),
    "batch_size": (2, LARGEST_INT),
    "learning_rate": (1e-12, 1e9),
    "learning_rate_min": (0.0, 1e9),
    "warmup": (0, LARGEST_INT),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1e9),
    "clip_norm": (1e-12, LARGEST_FLOAT),
    "auxiliary_weight": (0.0, 1e9),
    "label_smoothing": (0.0, 0.999),
    "image_size": (1, LARGEST_INT),
    "accumulate": (1, LARGEST_INT),
    "evaluate_every": (1, LARGEST_INT),
    "steps_per_call": (1, 100_000),
    "keep_checkpoints": (1, LARGEST_INT),
}


@dataclasses.dataclass(frozen=True)
class RetrainConfig:
    """The configuration of one retraining.

    Attributes:
      data: the images and their augmentation.
      network: the network that the genotype's cells are stacked into.
      genotype: text of the genotype; None until a retraining is given one.
      init_from: run directory whose weights the network starts with, or None.
      init_digest: sha256 of those weights, by which they are recognised where
        `init_from` was moved; a run records it.
      seed: of every random stream except the split.
      split_seed: chooses the validation images, and the test images of a data set
        without a test set; all seeds of a table share it. It corresponds to the `seed`
        of a search.
      valid_share: fraction of the training images to hold out for validation; 0 trains
        on all of them, as the published results do.
      epochs, batch_size, momentum, weight_decay, clip_norm: hyperparameters of SGD. The
        short last batch of an epoch is left out.
      nesterov: whether the momentum is Nesterov's.
      learning_rate, learning_rate_min, schedule: the learning rate of each epoch.
      warmup: number of first epochs over which the learning rate rises linearly.
      auxiliary_weight: weight of the auxiliary head's loss.
      label_smoothing: fraction of each label that is spread over all classes.
      precision: dtype of the activations in training steps, "float32" or "bfloat16"
        (nn/precision.py); weights, batch_stats, loss and evaluation stay float32.
      stream: read and send images while training runs, for data that do not fit the
        device; otherwise all images lie on the device. The batches are the same.
      image_size: side to which a random crop of each training image, and the centre of
        each other image, is resized; None takes images as they are. Needs `stream`.
      accumulate: number of parts in which a batch is processed, for less memory; each
        part has its own batch statistics.
      evaluate_every: epochs between two evaluations, each with a checkpoint.
      steps_per_call: largest number of training steps in one call of the device; a call
        may span epochs up to the next evaluation. No result depends on it.
      keep_checkpoints: number of newest checkpoints to keep.
      tensorboard, mlflow, wandb: send the metrics to these trackers too, see
        `storage.trackers`.

    Raises:
      ValueError: a value has the wrong type or is out of its range, or an unknown
        choice.
    """

    data: DataConfig
    network: NetworkConfig
    genotype: str | None = None
    init_from: str | None = None
    init_digest: str | None = None
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
    nesterov: bool = False
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
    keep_checkpoints: int = 2
    tensorboard: bool = False
    mlflow: bool = False
    wandb: bool = False

    def __post_init__(self):
        lookup(SCHEDULES, self.schedule, "schedule")
        check_precision("precision", self.precision)
        check_ranges(self, _RANGES)
        check_field_types(self)
        self._check_images()
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size}, but must be divisible by "
                f"accumulate, {self.accumulate}: change one of the two."
            )
        self._check_schedule()

    def _check_schedule(self):
        check_rates(self.learning_rate, self.learning_rate_min)
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
        large = self.data.name == "imagenet" and self.data.path is None
        if large and not (self.stream and self.image_size):
            raise ValueError(
                f"stream is {self.stream} and image_size is {self.image_size}, but "
                f"imagenet does not fit a device, and its images differ in size. Set "
                f"stream=true and image_size=224."
            )
        if self.image_size is not None and not self.stream:
            raise ValueError(
                f"image_size is {self.image_size}, but only streamed images are "
                f"resized. Set stream=true, or leave image_size out."
            )

    @property
    def sgd(self) -> SGD:
        """The hyperparameters of the weight steps."""
        return SGD(
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            learning_rate_min=self.learning_rate_min,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            epochs=self.epochs,
        )


def learning_rate(config: RetrainConfig, epoch: int) -> float:
    """The learning rate of an epoch counted from 0.

    Source: torch's cosine annealing, stepped once an epoch; `adjust_lr` of PC-DARTS on
    ImageNet.
    """
    first, epochs = config.learning_rate, config.epochs
    if epoch < config.warmup:
        return first * (epoch + 1) / config.warmup
    if config.schedule == "cosine":
        return sgd.learning_rate(config.sgd, epoch)
    left = epochs - epoch
    if left > TAIL:
        return first * (left - TAIL) / (epochs - TAIL)
    return first * left / ((epochs - TAIL) * TAIL)


def drop_path(config: RetrainConfig, epoch: int) -> float:
    """The probability of dropping a path in an epoch; it rises linearly from 0."""
    return config.network.drop_path * epoch / config.epochs
