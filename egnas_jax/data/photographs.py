"""Decodes image files of any kind that Pillow reads to 8 bits of red, green and blue.

Every reader of photographs uses this module, so a file looks the same wherever it is
read. The rules that are not Pillow's own:

- Greys of 16 bits are divided by 257, so that 65535 becomes 255, and those of a TIFF
  with fewer bits by their own full scale. Floats must lie in [0, 1] and are multiplied
  by 255. Other numbers have no known full scale and are refused. (Of 16-bit colours
  Pillow itself reads the upper 8 bits.)
- Where a TIFF says that 0 is white, it is white for every number of bits.
- Transparent pixels are shown on white.
- The EXIF orientation is ignored, as torchvision and tensorflow-datasets do, also in
  TIFF files, which Pillow turns.
- Of an animation or of several pages, the first is read.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image  # at run time Pillow is imported where it is needed

SIXTEEN_BITS = 65535
ORIENTATION, UPRIGHT = 0x0112, 1  # the EXIF tag, and its value without a turn
# TIFF tags: bits of a number, 0 where 0 is white, 1 or nothing where it has no sign.
_BITS, _ZERO_IS, _SIGNED = 0x0102, 0x0106, 0x0153
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What is known of a file before Pillow decodes it, kept in `image.info`.
_STORED_ORIENTATION, _HAS_16_BITS = "egnas_orientation", "egnas_has_16_bits"
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
    _silence_size_warning()
    try:
        with Image.open(io.BytesIO(data)) as image:
            _remember(image)
            image.load()
            yield image
    except UnidentifiedImageError:
        raise ValueError(_not_identified(data)) from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"it has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, which Pillow "
            f"does not open; make it smaller"
        ) from None
    except ValueError:
        raise
    except Exception as error:  # each file format raises its own types
        text = str(error) or type(error).__name__
        raise ValueError(f"it is damaged: {text}") from error


def _silence_size_warning() -> None:
    """Large images that Pillow opens are read without its alarm of an attack.

    The filter stays: a temporary one is not safe among the threads that decode.
    """
    from PIL.Image import DecompressionBombWarning as Warned

    if not any(each[0] == "ignore" and each[2] is Warned for each in warnings.filters):
        warnings.simplefilter("ignore", Warned)


def _not_identified(data: bytes) -> str:
    if data[:4] in _TIFF_HEADS:
        return (
            "it is a TIFF with pixels of a kind that Pillow does not read (as floats "
            "of 16 or 64 bits), or its header is damaged; save it with 8 or with 16 "
            "unsigned bits"
        )
    return "it is not an image, or its header is damaged"


def _remember(image: "Image") -> None:
    """Keeps what decoding removes from an image."""
    is_tiff = image.format == "TIFF"
    if is_tiff:
        stored = image.getexif().get(ORIENTATION, UPRIGHT)
        image.info[_STORED_ORIENTATION] = stored
    # the part of the file that is decoded names its layout, as "RGB;16B"
    image.info[_HAS_16_BITS] = (is_tiff or image.format == "PNG") and (
        ";16" in str(image.tile[:1])
    )


def to_rgb(image: "Image") -> "Image":
    """Converts an image of `open_image` to RGB, by the rules of this module.

    Raises:
      ValueError: the pixels are numbers whose full scale is unknown.
    """
    from PIL import Image

    image = to_8_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")  # some of ImageNet's files are grey or CMYK


def to_8_bits(image: "Image") -> "Image":
    """An image of `open_image` as it is stored, with 8 bits a number.

    Raises:
      ValueError: the pixels are numbers whose full scale is unknown.
    """
    stored = image.info.get(_STORED_ORIENTATION, UPRIGHT)
    turned_back = _turned_back(_scaled(image) if is_wide(image) else image, stored)
    transparent = image.info.get("transparency")
    if has_16_bits(image) and isinstance(transparent, tuple):
        upper = tuple(value >> 8 for value in transparent)  # as Pillow reads colours
        turned_back = turned_back.copy()
        turned_back.info["transparency"] = upper
    return turned_back


def is_wide(image: "Image") -> bool:
    """Whether a pixel is one number of more than 8 bits."""
    return image.mode[0] in "IF"


def has_16_bits(image: "Image") -> bool:
    """Whether a pixel of `open_image` was stored as whole numbers of 9 to 16 bits."""
    if is_wide(image):
        return image.mode != "F"
    return image.info.get(_HAS_16_BITS, False)


def orientation(image: "Image") -> int:
    """The EXIF orientation of an image of `open_image`; 1 is upright."""
    try:
        stored = image.getexif().get(ORIENTATION, UPRIGHT)
    except Exception:  # damaged metadata raise many types, and no pixel depends on them
        stored = UPRIGHT
    return image.info.get(_STORED_ORIENTATION, stored)


def _turned_back(image: "Image", stored: int) -> "Image":
    """The pixels of a TIFF as they are stored; Pillow has turned them."""
    from PIL.Image import Transpose

    undo = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    return image.transpose(undo[stored]) if stored in undo else image


def _scaled(image: "Image") -> "Image":
    """A grey image whose pixels are scaled from their full scale to 0..255."""
    from PIL import Image

    values = np.asarray(image)
    scaled = np.rint(values * (255 / _full_scale(image, values))).astype(np.uint8)
    if _tiff_tag(image, _ZERO_IS) == 0:  # Pillow turns 8 bits and fewer itself
        scaled = 255 - scaled
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # the one grey that stands for transparency
        opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
        return Image.fromarray(np.stack([scaled, opaque], axis=-1))
    return Image.fromarray(scaled)


def _tiff_tag(image: "Image", tag: int) -> int | None:
    """A tag of a TIFF, the first number where it has several; None of other files."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value


def _full_scale(image: "Image", values: np.ndarray) -> int:
    """The value of white."""
    bits = _tiff_tag(image, _BITS)
    if image.mode == "I" and bits == 32 and _tiff_tag(image, _SIGNED) in (None, 1):
        values = values.view(np.uint32)  # Pillow has no mode for them
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
            f"its pixels are {bits or 32}-bit integers from {low} to {high}, whose "
            f"full scale is unknown; save it with 8 or with 16 unsigned bits"
        )
    return 2**bits - 1 if bits else SIXTEEN_BITS
