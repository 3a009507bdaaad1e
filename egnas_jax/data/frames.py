"""Photographs of any size to squares of one size, on the host: by Pillow, from a key.

The recipe of ImageNet with torchvision's conventions: a random part of the image for
training, the middle of the resized image for evaluation; bilinear, with antialiasing.
What happens to an image in an epoch depends on the seed, the epoch and the image's
number alone, neither on the batch that it falls in nor on who reads it when.

Source: `RandomResizedCrop`, `Resize` and `CenterCrop` of torchvision.
Dims: H, W height and width, S side of the square, C channels; in pixels.
"""

import io
import math
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image  # imported where it is used: not all runs need Pillow

AREA = (0.08, 1.0)  # shares of the image that a crop may cover
ASPECT = (3 / 4, 4 / 3)  # width over height of a crop
TRIES = 10
MARGIN = 256 / 224  # shorter side before the middle is cut out, over S


class Box(NamedTuple):
    """A part of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def decode(data: bytes) -> "Image":
    """An encoded image as a Pillow image in RGB.

    Raises:
      OSError: it is damaged, or no image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")  # some of ImageNet are grey or CMYK


def random_square(
    image: "Image | np.ndarray", size: int, seed: int, epoch: int, index: int
) -> np.ndarray:
    """A random part of a training image, resized: u8[S, S, C].

    Args:
      image: Pillow image, or u8[H, W, C] with C of 1 or 3.
      size: S.
      seed: of the run.
      epoch: from 0.
      index: number of the image in its data set.
    """
    image = _as_pillow(image)
    box = random_box(*image.size[::-1], uniform(seed, epoch, index))
    return _resized(image, box, size)


def middle_square(image: "Image | np.ndarray", size: int) -> np.ndarray:
    """The middle of an image whose shorter side was resized to 8/7 S: u8[S, S, C].

    Args:
      image, size: as above.
    """
    image = _as_pillow(image)
    width, height = image.size
    shorter = round(size * MARGIN)
    if width <= height:
        whole = (shorter, int(shorter * height / width))
    else:
        whole = (int(shorter * width / height), shorter)
    image = image.resize(whole, _bilinear())
    top, left = (round((side - size) / 2) for side in (whole[1], whole[0]))
    return _as_array(image.crop((left, top, left + size, top + size)))


def uniform(seed: int, epoch: int, index: int) -> np.ndarray:
    """The numbers in [0, 1) that the crop of an image in an epoch is drawn by.

    Of PCG64's raw stream, which numpy keeps for all later versions.
    """
    stream = np.random.PCG64([seed, zlib.crc32(b"crop"), epoch, index])
    return (stream.random_raw(4 * TRIES) >> np.uint64(11)) * 2.0**-53


def random_box(height: int, width: int, draws: np.ndarray) -> Box:
    """A part of random area and aspect; the middle where none of ten fits.

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
            return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
    h = min(height, round(width / ASPECT[0]))
    w = min(width, round(height * ASPECT[1]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def _resized(image, box: Box, size: int) -> np.ndarray:
    corners = box.left, box.top, box.left + box.width, box.top + box.height
    return _as_array(image.crop(corners).resize((size, size), _bilinear()))


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
