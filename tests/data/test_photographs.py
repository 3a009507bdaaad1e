"""Image files of every kind become the right 8-bit RGB pixels, or are refused."""

import io

import numpy as np
import pytest
from deep_png import png_of_16_bits
from PIL import Image, features

from egnas_jax.data.photographs import decode

RNG = np.random.default_rng(0)
GREYS = [0, 257, 30000, 65535]  # of 16 bits
GREYS_OF_8 = [0, 1, 117, 255]  # divided by 257 and rounded


def encoded(image, file_format="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def pixels(data):
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey_pixels(data):
    values = pixels(data)
    assert (values == values[..., :1]).all()
    return values[..., 0].ravel().tolist()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_by_their_full_range(file_format):
    image = np.array([GREYS], np.uint16)
    assert grey_pixels(encoded(image, file_format)) == GREYS_OF_8


def test_big_endian_tiff_files_are_scaled_too():
    big_endian = Image.frombytes("I;16B", (4, 1), np.array(GREYS, ">u2").tobytes())
    assert grey_pixels(encoded(big_endian, "TIFF")) == GREYS_OF_8


def with_tag(tiff, tag, value):
    """A little-endian TIFF file whose tag has another value, of 16 bits."""
    start = int.from_bytes(tiff[4:8], "little") + 2
    count = int.from_bytes(tiff[start - 2 : start], "little")
    for entry in range(start, start + 12 * count, 12):
        if int.from_bytes(tiff[entry : entry + 2], "little") == tag:
            at = entry + 8
            return tiff[:at] + value.to_bytes(2, "little") + tiff[at + 2 :]
    raise AssertionError(f"The file has no tag {tag}.")


ZERO_IS, BITS, WIDTH = 0x0106, 0x0102, 0x0100


@pytest.mark.parametrize(
    ("image", "greys"),
    [
        (np.array([[0, 257, 30000, 60000]], np.uint16), [255, 254, 138, 22]),
        (np.array([[0, 0.2, 0.5, 1]], np.float32), [255, 204, 127, 0]),
        (np.array([[0, 1, 117, 255]], np.uint8), [255, 254, 138, 0]),
    ],
)
@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate"])
def test_zero_is_white_where_a_tiff_says_so(image, greys, compression):
    if compression and not features.check("libtiff"):
        pytest.skip("Pillow was built without libtiff")
    data = encoded(image, "TIFF", compression=compression)
    assert grey_pixels(with_tag(data, ZERO_IS, 0)) == greys


def test_twelve_bits_of_a_tiff_are_scaled_by_their_own_range():
    data = encoded(np.array([[0, 0, 0]], np.uint16), "TIFF")
    data = with_tag(with_tag(data, BITS, 12), WIDTH, 4)
    assert data.endswith(bytes(6))
    packed = bytes.fromhex("000 101 800 fff".replace(" ", ""))
    assert grey_pixels(data[:-6] + packed) == [0, 16, 128, 255]  # 257 of 4095


def test_floats_from_0_to_1_are_scaled_by_255():
    image = np.array([[0, 0.2, 0.5, 1]], np.float32)
    assert grey_pixels(encoded(image, "TIFF")) == [0, 51, 128, 255]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.array([[0, 255.0]], np.float32), "floats from 0 to 255"),
        (np.array([[-0.5, 1]], np.float32), "floats from -0.5 to 1"),
        (np.array([[np.nan, 1]], np.float32), "floats from nan"),
        (np.array([[0, 255]], np.int32), "32-bit integers from 0 to 255"),
    ],
)
def test_numbers_without_a_full_scale_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        decode(encoded(image, "TIFF"))


SIGN = 0x0153


def test_numbers_without_a_full_scale_are_named_as_they_are_stored():
    signed = encoded(np.array([[-7, 3]], np.int32), "TIFF")
    with pytest.raises(ValueError, match="32-bit integers from -7 to 3"):
        decode(signed)
    with pytest.raises(ValueError, match="32-bit integers from 3 to 4294967289"):
        decode(with_tag(signed, SIGN, 1))
    with pytest.raises(ValueError, match="16-bit integers from"):
        decode(with_tag(signed, BITS, 16))
    with pytest.raises(ValueError, match="a TIFF with pixels of a kind that Pillow"):
        decode(with_tag(signed, BITS, 64))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_become_white(file_format):
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, 3] = 0, 128, 255
    options = {"lossless": True} if file_format == "WEBP" else {}
    white, half, black = grey_pixels(encoded(image, file_format, **options))
    assert (white, black) == (255, 0) and abs(half - 127) <= 1


def test_greys_with_transparency_become_white_too():
    image = np.array([[[0, 0], [0, 255]]], np.uint8)
    assert grey_pixels(encoded(Image.fromarray(image, "LA"))) == [255, 0]


@pytest.mark.parametrize(("kind", "grey"), [(np.uint8, 7), (np.uint16, 7 * 257)])
def test_the_grey_that_stands_for_transparency_becomes_white(kind, grey):
    image = np.array([[0, grey]], kind)
    assert grey_pixels(encoded(image, transparency=0)) == [255, 7]


def test_the_colour_that_stands_for_transparency_becomes_white():
    image = np.array([[[40000, 30000, 20000], [0, 1000, 60000]]], np.uint16)
    data = png_of_16_bits(image, (40000, 30000, 20000))
    assert pixels(data).tolist() == [[[255] * 3, [0, 3, 234]]]


def test_palettes_are_looked_up_and_their_transparent_entry_is_white():
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    assert pixels(encoded(image)).tolist() == [
        [[0, 0, 0], [10, 20, 30], [200, 100, 50]]
    ]
    assert pixels(encoded(image, transparency=0)).tolist() == [
        [[255, 255, 255], [10, 20, 30], [200, 100, 50]]
    ]


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB", "1", "YCbCr"])
def test_other_modes_are_converted_as_pillow_does(mode):
    image = Image.fromarray(RNG.integers(0, 256, (8, 9, 3), np.uint8)).convert(mode)
    data = encoded(image, "TIFF")
    np.testing.assert_array_equal(pixels(data), image.convert("RGB"))


def test_opaque_images_keep_their_pixels():
    image = RNG.integers(0, 256, (8, 9, 4), np.uint8)
    image[..., 3] = 255
    np.testing.assert_array_equal(pixels(encoded(image)), image[..., :3])
    rgb = image[..., :3].copy()
    for file_format in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(pixels(encoded(rgb, file_format)), rgb)


def test_the_exif_orientation_is_ignored():
    image, exif = np.zeros((20, 40, 3), np.uint8), Image.Exif()
    exif[0x0112] = 6
    assert pixels(encoded(image, "JPEG", exif=exif)).shape == (20, 40, 3)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_orientation_of_a_tiff_is_ignored_too(turn, kind):
    grey, exif = np.arange(6, dtype=kind).reshape(2, 3), Image.Exif()
    exif[0x0112] = turn
    data = encoded(grey * (40 if kind == np.uint8 else 40 * 257), "TIFF", exif=exif)
    np.testing.assert_array_equal(pixels(data)[..., 0], 40 * grey)


PHOTO = RNG.integers(0, 256, (20, 24, 3), np.uint8)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(file_format, share):
    data = encoded(PHOTO, file_format)
    with pytest.raises(ValueError, match="is damaged|is not an image"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"\0\5\26\7" + bytes(100), "is not an image")],
)
def test_what_is_no_image_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        decode(data)


def test_large_images_are_read_without_a_warning_or_refused_by_their_size(
    monkeypatch, recwarn
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 24 - 1)
    np.testing.assert_array_equal(pixels(encoded(PHOTO)), PHOTO)
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="more than 200 pixels.*make it smaller"):
        decode(encoded(PHOTO))


def test_a_damaged_png_is_refused():
    data = bytearray(encoded(PHOTO))
    data[len(data) // 2] ^= 1
    with pytest.raises(ValueError, match="is damaged"):
        decode(bytes(data))
