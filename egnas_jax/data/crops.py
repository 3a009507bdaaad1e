"""Crops and resizes photographs to squares of one size, on the host, with Pillow.

Training uses a random resized crop and evaluation a centre crop, as in the ImageNet
recipe, with torchvision's conventions: bilinear interpolation with antialiasing. The
crop of an image in an epoch depends only on the seed, the epoch and the image's index,
not on its batch or on the thread that reads it.

Source: `RandomResizedCrop`, `Resize` and `CenterCrop` of torchvision.
Dims: H, W height and width, S side of the square, all in pixels; C channels.
"""

import math
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image  # at run time Pillow is imported where it is needed

AREA = (0.08, 1.0)  # range of a crop's area, as a fraction of the image
ASPECT = (3 / 4, 4 / 3)  # range of a crop's width over height
TRIES = 10
RESIZE = 256 / 224  # shorter side before the centre crop, in units of S


class CropBox(NamedTuple):
    """A rectangle in an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def random_resized_crop(
    image: "Image | np.ndarray", size: int, *, seed: int, epoch: int, index: int
) -> np.ndarray:
    """A random crop of a training image, resized: u8[S, S, C].

    Args:
      image: a Pillow image, or u8[H, W, C] with C of 1 or 3.
      size: S.
      seed: of the run.
      epoch: from 0.
      index: of the image in its data set.
    """
    image = _as_pillow(image)
    width, height = image.size
    box = random_box(height, width, uniform_draws(seed, epoch, index))
    corners = box.left, box.top, box.left + box.width, box.top + box.height
    return _as_array(image.crop(corners).resize((size, size), _bilinear()))


def centre_crop(image: "Image | np.ndarray", size: int) -> np.ndarray:
    """The centre of an image whose shorter side is resized to 8/7 S: u8[S, S, C].

    Args:
      image: a Pillow image, or u8[H, W, C] with C of 1 or 3.
      size: S.
    """
    image = _as_pillow(image)
    width, height = image.size
    shorter = round(size * RESIZE)
    if width <= height:
        width, height = shorter, int(shorter * height / width)
    else:
        width, height = int(shorter * width / height), shorter
    image = image.resize((width, height), _bilinear())
    top, left = round((height - size) / 2), round((width - size) / 2)
    return _as_array(image.crop((left, top, left + size, top + size)))


def uniform_draws(seed: int, epoch: int, index: int) -> np.ndarray:
    """Uniform numbers in [0, 1) for the crop of one image in one epoch, f64[4 * TRIES].

    They come from PCG64's raw stream, which NumPy guarantees for all later versions.
    """
    stream = np.random.PCG64([seed, zlib.crc32(b"crop"), epoch, index])
    return (stream.random_raw(4 * TRIES) >> np.uint64(11)) * 2.0**-53


def random_box(height: int, width: int, draws: np.ndarray) -> CropBox:
    """A box of random area and aspect ratio, or a centred one if all tries fail.

    Args:
      height, width: of the image.
      draws: f64[4 * TRIES] in [0, 1).
    """
    low, high = map(math.log, ASPECT)
    for area, aspect, down, right in draws.reshape(TRIES, 4).tolist():
        area = height * width * (AREA[0] + area * (AREA[1] - AREA[0]))
        aspect = math.exp(low + aspect * (high - low))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return CropBox(
                int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
            )
    h = min(height, round(width / ASPECT[0]))
    w = min(width, round(height * ASPECT[1]))
    return CropBox((height - h) // 2, (width - w) // 2, h, w)


def _bilinear():
    from PIL import Image

    return Image.Resampling.BILINEAR


def _as_pillow(image):
    from PIL import Image

    if not isinstance(image, np.ndarray):
        return image
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _as_array(image) -> np.ndarray:
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array
