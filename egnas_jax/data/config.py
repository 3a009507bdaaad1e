"""Defines the settings `data.*` of a run, and checks them."""

import dataclasses
import re

from egnas_jax.lookup import lookup
from egnas_jax.settings import LARGEST_INT, check_field_types, check_ranges

LAYOUT = "NHWC"  # the axes of images, and the one order that is read
DATA_SETS = {
    "digits": "scikit-learn's 1,797 digits, 8x8x1; nothing to download",
    "cifar10": "CIFAR-10, 50,000 + 10,000 images 32x32x3",
    "cifar100": "CIFAR-100, 50,000 + 10,000 images 32x32x3",
    "imagenet": "ImageNet (ILSVRC 2012), read while it trains; for `retrain`",
}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which data set a run uses, and how it augments training images.

    Attributes:
      name: a key of `DATA_SETS`.
      path: an .npz file of the user's own (`images` u8[N, H, W, C], `labels` [N],
        optionally `test_images` and `test_labels`), which is used instead of `name`.
      pad: largest shift of a random crop in each direction, in pixels (CIFAR: 4).
      flip: whether to mirror a random half of the training images left to right.
      cutout: side in pixels of the square that is blanked in each training image
        (CIFAR retraining: 16); 0 for none.
      colour_jitter: largest relative change of brightness, contrast and saturation;
        the hue changes by up to half of it, in turns (ImageNet: 0.4). 0 for none.
      digest: expected sha256 of the images and labels; None accepts any. A run
        directory records it, so that a run cannot resume with other data.
      classes: number of classes of the user's own images, where the largest label does
        not tell: a class may have no image. None: the largest label + 1.
      layout: "NHWC" states that the user's own images are [N, H, W, C], where their
        sides look like another order and are refused. None: nothing is stated.

    Raises:
      ValueError: a value has the wrong type or is out of its range.
    """

    name: str = "digits"
    path: str | None = None
    pad: int = 1
    flip: bool = False
    cutout: int = 0
    colour_jitter: float = 0.0
    digest: str | None = None
    classes: int | None = None
    layout: str | None = None

    def __post_init__(self):
        lookup(DATA_SETS, self.name, "data set")
        is_path = isinstance(self.path, str) and self.path.strip()
        if self.path is not None and not is_path:
            raise ValueError(
                f"data.path is {self.path!r}; give the path of an .npz file, or "
                "leave it unset to use data.name."
            )
        digest = str(self.digest)
        if self.digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValueError(
                f"data.digest is {self.digest!r}; give the 64 hexadecimal digits that "
                "another run's config.json names, or leave it unset."
            )
        if self.layout not in (None, LAYOUT):
            raise ValueError(
                f"data.layout is {self.layout!r}, but images are read as {LAYOUT} "
                f"alone. Transpose others, as [N, C, H, W] by np.moveaxis(images, 1, "
                f"-1), and set data.layout={LAYOUT} or leave it unset."
            )
        sides = (0, LARGEST_INT)
        ranges = {"pad": sides, "cutout": sides, "colour_jitter": (0, 1)}
        check_ranges(self, ranges | {"classes": (2, LARGEST_INT)}, "data.")
        check_field_types(self, "data.")


def check_stated_classes(config: DataConfig, num_classes: int) -> None:
    """Refuses a number of classes that the data set is known not to have.

    Args:
      config: the configuration whose `classes` are checked.
      num_classes: of the data set.

    Raises:
      ValueError: `classes` is another number.
    """
    if config.classes not in (None, num_classes):
        raise ValueError(
            f"data.classes is {config.classes}, but {config.name} has {num_classes} "
            f"classes. Leave data.classes out; it is for images of your own."
        )


def check_augmentation(
    config: DataConfig, height: int, width: int, channels: int
) -> None:
    """Refuses an augmentation that does not fit the images.

    Args:
      config: the configuration whose `pad`, `cutout` and `colour_jitter` are checked.
      height, width: of the images, in pixels.
      channels: of the images.

    Raises:
      ValueError: `pad` or `cutout` is not smaller than the shorter side, so that it
        could blank a whole image, or colours of images without 3 channels are to
        change.
    """
    if config.colour_jitter and channels != 3:
        raise ValueError(
            f"data.colour_jitter={config.colour_jitter} changes red, green and blue, "
            f"but the images have {channels} channel(s). Set data.colour_jitter=0."
        )
    side = min(height, width)
    for field in ("pad", "cutout"):
        value = getattr(config, field)
        if value >= side:
            raise ValueError(
                f"data.{field}={value} does not fit images of {height}x{width} "
                f"pixels: it must be from 0 to {side - 1}. Set a smaller data.{field}."
            )
