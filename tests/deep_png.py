"""Writes PNG files of 16-bit colours, which Pillow can only read."""

import struct
import zlib

import numpy as np

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels


def png_of_16_bits(image: np.ndarray, transparent: tuple[int, ...] = ()) -> bytes:
    """A PNG file of an image u16[H, W, C].

    Args:
      image: whose last axis is grey, grey and alpha, RGB or RGBA.
      transparent: the grey or colour that stands for transparency.
    """
    height, width, channels = image.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    colour_type = COLOUR_TYPES[channels]
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    ]
    if transparent:
        chunks.append((b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
