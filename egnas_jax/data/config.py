"""What a run may set about its data: `data.*`."""

import dataclasses
import re

from egnas_jax.lookup import lookup

DATA_SETS = {
    "digits": "scikit-learn's 1,797 digits, 8x8x1; nothing to download",
    "cifar10": "CIFAR-10, 50,000 + 10,000 images 32x32x3",
    "cifar100": "CIFAR-100, 50,000 + 10,000 images 32x32x3",
    "imagenet": "ImageNet (ILSVRC 2012), read while it trains; for `retrain`",
}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how a training batch of them is varied.

    Attributes:
      name: a key of `DATA_SETS`.
      path: the user's own .npz (`images` u8[N, H, W, C], `labels` [N], optionally
        `test_images` and `test_labels`); when set it is the data set, whatever
        `name` says.
      pad: crops are shifted by at most so many pixels in each direction (CIFAR: 4).
      flip: mirror half of the training images left to right.
      cutout: side in pixels of the square that is blanked in each training image
        (CIFAR retraining: 16); 0 leaves all whole.
      colour_jitter: largest relative change of brightness, contrast and saturation, and
        twice the largest turn of the hue (ImageNet: 0.4); 0 leaves colours alone.
      digest: sha256 of the images and labels, or None to take them as they are; a run
        directory records it, so that a run never goes on with other data.

    Raises:
      ValueError: a value of the wrong type or outside its range.
    """

    name: str = "digits"
    path: str | None = None
    pad: int = 1
    flip: bool = False
    cutout: int = 0
    colour_jitter: float = 0.0
    digest: str | None = None

    def __post_init__(self):
        lookup(DATA_SETS, self.name, "data set")
        if self.path is not None and (
            not isinstance(self.path, str) or not self.path.strip()
        ):
            raise ValueError(
                f"data.path is {self.path!r}; give the path of an .npz file, or "
                "leave it unset to use data.name."
            )
        if self.digest is not None and not re.fullmatch("[0-9a-f]{64}", self.digest):
            raise ValueError(
                f"data.digest is {self.digest!r}; give the 64 hexadecimal digits that "
                "another run's config.json names, or leave it unset."
            )
        for field in ("pad", "cutout"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(
                    f"data.{field} is {value!r}; allowed are whole numbers of pixels "
                    "from 0 (0 turns it off)."
                )
        if not isinstance(self.flip, bool):
            raise ValueError(f"data.flip is {self.flip!r}; allowed are true and false.")
        if not 0 <= self.colour_jitter <= 1:
            raise ValueError(
                f"data.colour_jitter is {self.colour_jitter!r}; allowed is 0 to 1."
            )


def check_augmentation(
    config: DataConfig, height: int, width: int, channels: int
) -> None:
    """Refuses what would blank whole images, and colours where there are none.

    Args:
      config: what is asked for.
      height, width: of the images, in pixels.
      channels: of the images.

    Raises:
      ValueError: `pad` or `cutout` is not smaller than the shorter side, or colours are
        to change of images that have not three channels.
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
                f"data.{field}={value} does not suit images of {height}x{width} "
                f"pixels: allowed is 0 to {side - 1}. Set data.{field} to less."
            )
