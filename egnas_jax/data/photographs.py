"""Decodes image files of any kind that Pillow reads to 8 bits of red, green and blue.

Every reader of photographs uses this module, so a file looks the same wherever it is
read. The rules that are not Pillow's own:

- 16-bit greys are divided by 257, so that 65535 becomes 255. Floats must lie in [0, 1]
  and are multiplied by 255. Other numbers have no known full scale and are refused.
  (Of 16-bit colours Pillow itself reads the upper 8 bits.)
- Transparent pixels are shown on white.
- The EXIF orientation is ignored, as torchvision and tensorflow-datasets do.
- Of an animation or of several pages, the first is read.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image  # at run time Pillow is imported where it is needed

SIXTEEN_BITS = 65535
# Formats whose mode "I" holds 16 bits: Pillow scales the greys of a PPM to 0..65535,
# and its releases before 11 read a 16-bit PNG this way.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")


def decode(data: bytes) -> "Image":
    """Decodes an image file to a Pillow image in RGB.

    Args:
      data: the content of the file.

    Raises:
      ValueError: the data are damaged, are not an image, or cannot be scaled to 8 bits.
    """
    with open_image(data) as image:
        return to_rgb(image)


@contextlib.contextmanager
def open_image(data: bytes) -> Iterator["Image"]:
    """Opens an image file for a `with` block, in the mode that it was saved in.

    Args:
      data: the content of the file.

    Raises:
      ValueError: the data are damaged or are not an image. Errors of the block become
        such errors too, since Pillow decodes late.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ValueError("it is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            yield image
    except UnidentifiedImageError:
        raise ValueError("it is not an image, or its header is damaged") from None
    except ValueError:
        raise
    except Exception as error:  # each file format raises its own types
        text = str(error) or type(error).__name__
        raise ValueError(f"it is damaged: {text}") from error


def to_rgb(image: "Image") -> "Image":
    """Converts a Pillow image of any mode to RGB, by the rules of this module.

    Raises:
      ValueError: the pixels are numbers whose full scale is unknown.
    """
    from PIL import Image

    if is_wide(image):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")  # some of ImageNet's files are grey or CMYK


def is_wide(image: "Image") -> bool:
    """Whether a pixel is one number of more than 8 bits."""
    return image.mode[0] in "IF"


def _to_8_bits(image: "Image") -> "Image":
    """A grey image whose pixels are scaled from their full scale to 0..255."""
    from PIL import Image

    values = np.asarray(image)
    scaled = np.rint(values * (255 / _full_scale(image, values))).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # the one grey that stands for transparency
        opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
        return Image.fromarray(np.stack([scaled, opaque], axis=-1))
    return Image.fromarray(scaled)


def _full_scale(image: "Image", values: np.ndarray) -> int:
    """The value of white."""
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # NaN is refused as well
            raise ValueError(
                f"its pixels are floats from {low:g} to {high:g}, but only floats in "
                f"[0, 1] can be scaled to 8 bits; save it with 8 bits"
            )
        return 1
    is_known = image.mode != "I" or image.format in _SIXTEEN_BIT_FORMATS
    if not is_known or low < 0 or high > SIXTEEN_BITS:
        raise ValueError(
            f"its pixels are 32-bit integers from {low} to {high}, whose full scale is "
            f"unknown; save it with 8 or with 16 unsigned bits"
        )
    return SIXTEEN_BITS
