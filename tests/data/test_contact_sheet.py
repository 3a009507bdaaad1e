"""The sheet of samples shows the right images of each class."""

import matplotlib.image
import numpy as np
import pytest

from egnas_jax.data.dataset import Dataset
from egnas_jax.data.show import contact_sheet


def dataset(num_classes=3, channels=3):
    """Class c is images of the grey level 60 (c + 1)."""
    labels = np.arange(3 * num_classes) % num_classes
    shades = (60 * (labels + 1) % 251).astype(np.uint8)
    images = np.broadcast_to(
        shades[:, None, None, None], (len(labels), 4, 4, channels)
    ).copy()
    names = tuple(f"class {i}" for i in range(num_classes))
    scale = (0.5,) * channels
    return Dataset(
        "toy", images, labels, images, labels, num_classes, names, scale, scale, True
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_class_has_a_row_of_its_images(tmp_path, channels):
    out = tmp_path / "new" / "sheet.png"
    assert contact_sheet(dataset(channels=channels), out, per_class=2) == out
    pixels = np.rint(matplotlib.image.imread(out)[..., 0] * 255).astype(int)
    if channels >= 3:  # a grey map stretches single channels
        assert {60, 120, 180} <= set(pixels.ravel())
    tops = [np.flatnonzero((pixels == shade).any(1)) for shade in (60, 120, 180)]
    if channels >= 3:
        assert tops[0].max() < tops[1].max() < tops[2].max()
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]


def test_a_hundred_classes_and_absent_ones_fit(tmp_path):
    many = dataset(num_classes=100)
    few = many._replace(labels=np.zeros_like(many.labels), class_names=None)
    contact_sheet(few, tmp_path / "sheet.png", per_class=3)
    height, width, _ = matplotlib.image.imread(tmp_path / "sheet.png").shape
    assert height < 2000 and width < 2500


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(ValueError, match="per_class is 0"):
        contact_sheet(dataset(), tmp_path / "sheet.png", per_class=0)
    with pytest.raises(ValueError, match=r"must end in \.png"):
        contact_sheet(dataset(), tmp_path / "sheet.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        contact_sheet(dataset(), tmp_path / "file" / "sheet.png")
