"""The contact sheet shows the images of each class in a row of their own."""

import matplotlib.image
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.data.dataset import Dataset
from egnas_jax.data.show import contact_sheet


def dataset(num_classes=3, channels=3):
    """Three images per class; all pixels of class c have the value 60 (c + 1)."""
    labels = np.arange(3 * num_classes) % num_classes
    shades = (60 * (labels + 1) % 251).astype(np.uint8)
    images = np.ones((len(labels), 4, 4, channels), np.uint8)
    images *= shades[:, None, None, None]
    return Dataset(
        name="toy",
        images=images,
        labels=labels,
        test_images=images,
        test_labels=labels,
        num_classes=num_classes,
        class_names=tuple(f"class {i}" for i in range(num_classes)),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        stratified=True,
    )


# matplotlib stretches the values 60 to 255 of a single channel to the range 0 to 255.
# The shade 0 is left out, because letters have it too.
@pytest.mark.parametrize(
    "channels, shades",
    [(1, [78, 157]), (2, [78, 157]), (3, [60, 120, 180]), (4, [60, 120, 180])],
)
def test_every_class_has_a_row_of_its_images(tmp_path, channels, shades):
    out = tmp_path / "new" / "sheet.png"
    assert contact_sheet(dataset(channels=channels), out, per_class=2) == out
    pixels = np.rint(matplotlib.image.imread(out)[..., 0] * 255).astype(int)
    # Many pixels in a row, as letters hold single pixels of every shade.
    rows = [np.flatnonzero((pixels == shade).sum(1) > 20) for shade in shades]
    assert all(len(part) > 20 for part in rows)
    assert np.all(np.diff(np.concatenate(rows)) > 0)
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]


def test_a_hundred_classes_fit_even_without_images(tmp_path):
    many = dataset(num_classes=100)
    all_of_class_0 = np.zeros_like(many.labels)
    many = many._replace(labels=all_of_class_0, class_names=None)
    contact_sheet(many, tmp_path / "sheet.png", per_class=3)
    height, width, _ = matplotlib.image.imread(tmp_path / "sheet.png").shape
    assert height < 2000 and width < 2500


def test_a_number_of_images_below_1_is_refused(tmp_path):
    with pytest.raises(ValueError, match="per_class is 0"):
        contact_sheet(dataset(), tmp_path / "sheet.png", per_class=0)


def test_a_file_name_without_png_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png"):
        contact_sheet(dataset(), tmp_path / "sheet.jpg")


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        contact_sheet(dataset(), tmp_path / "file" / "sheet.png")


def test_a_stated_layout_is_shown(tmp_path, capsys):
    images = np.zeros((10, 8, 12, 10), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(10) % 2)
    out = tmp_path / "sheet.png"
    command = ["data", "show", "--path", str(tmp_path / "mine.npz"), "--out", str(out)]
    assert main(command) == 2
    assert "data.layout=NHWC" in capsys.readouterr().err
    assert main([*command, "--layout", "NHWC"]) == 0 and out.exists()
