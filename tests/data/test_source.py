"""Images come from the right place, and the errors say what to do if there is none."""

import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from egnas_jax.data import source
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import CIFAR_MEAN
from egnas_jax.data.files import arrays, download


@pytest.fixture
def requested_urls(monkeypatch, tmp_path):
    """URLs that the test requests, without network and without prepared data."""
    urls = []

    def refuse(url, timeout):
        urls.append(url)
        raise OSError("Name or service not known")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return urls


def test_digits_are_read_without_an_import_as_scikit_learn_reads_them():
    pixels, labels = arrays._digits_of_scikit_learn()
    expected_pixels, expected_labels = sklearn.datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(pixels, expected_pixels)
    np.testing.assert_array_equal(labels, expected_labels)
    script = """if True:
        import sys
        from egnas_jax.data.files.arrays import load_digits
        load_digits(0)
        assert "sklearn" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_digits_without_their_file_come_from_scikit_learn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert arrays._digits_of_scikit_learn()[0].shape == (1797, 64)


def test_digits_are_rescaled_to_bytes():
    dataset = source.load_dataset(DataConfig(), seed=0)
    assert dataset.images.shape == (1438, 8, 8, 1)
    assert dataset.test_images.shape == (359, 8, 8, 1)
    assert dataset.images.dtype == np.uint8 and dataset.labels.dtype == np.int32
    # The source has whole numbers from 0 to 16.
    assert set(np.unique(dataset.images)) <= {round(i * 255 / 16) for i in range(17)}
    assert dataset.images.max() == 255 and dataset.num_classes == 10


def test_a_path_has_priority_over_the_name(tmp_path, requested_urls):
    path = tmp_path / "mine.npz"
    images = np.zeros((20, 8, 8, 1), np.uint8)
    np.savez(path, images=images, labels=np.arange(20) % 2)
    dataset = source.load_dataset(DataConfig(name="cifar10", path=str(path)))
    assert dataset.name == "mine" and dataset.num_classes == 2
    assert not requested_urls


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_official_files_become_a_data_set(official, tmp_path, name):
    layout = official.layouts[name][0]
    content = official.content(layout)
    official.write_folder(tmp_path, layout, content)
    dataset = source.load_cifar(name, tmp_path, official.layouts)
    np.testing.assert_array_equal(dataset.images, content.train.images)
    np.testing.assert_array_equal(dataset.test_labels, content.test.labels[:, -1])
    assert dataset.num_classes == len(dataset.class_names) == layout.num_classes[-1]
    assert dataset.mean == CIFAR_MEAN


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_an_empty_data_dir_is_refused_without_a_download(
    tmp_path, name, requested_urls
):
    with pytest.raises(ValueError, match=f"holds no {name}: looked for") as caught:
        source.load_dataset(DataConfig(name=name), tmp_path)
    message = str(caught.value)
    for layout in source.LAYOUTS[name]:
        assert layout.folder in message and layout.archive in message
    assert not requested_urls


def test_an_incomplete_folder_is_refused_even_if_another_is_complete(
    official, tmp_path
):
    for layout in official.layouts["cifar10"]:
        official.write_folder(tmp_path, layout, official.content(layout))
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(ValueError, match="lacks test_batch.bin"):
        source.load_cifar("cifar10", tmp_path, official.layouts)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_data_dir_that_is_not_a_directory_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        source.load_dataset(DataConfig(name=name), tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        source.load_dataset(DataConfig(name=name), tmp_path / "file")


def test_without_data_and_network_the_error_names_places_and_ways_out(
    tmp_path, requested_urls
):
    with pytest.raises(ValueError) as caught:
        source.load_dataset(DataConfig(name="cifar10"))
    message = str(caught.value)
    places = [str(tmp_path / "tfds"), download.ARCHIVES["cifar10"].url]
    ways_out = ["--data-dir", "egnas data prepare", "data.path"]
    for part in [*places, "Name or service not known", *ways_out]:
        assert part in message
    assert len(message.splitlines()) <= 3
    assert len(requested_urls) == 1


def test_a_downloaded_archive_is_read(official, tmp_path, requested_urls, monkeypatch):
    layout = official.layouts["cifar100"][0]
    content = official.content(layout)
    path = official.write_archive(tmp_path, layout, content)
    monkeypatch.setattr(download, "fetch", lambda archive, folder: path)
    dataset = source.load_cifar("cifar100", None, official.layouts)
    np.testing.assert_array_equal(dataset.images, content.train.images)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(cutout=16), "cutout=16 does not fit images of 8x8"),
        (dict(pad=8), r"pad=8 .* must be from 0 to 7"),
        (dict(colour_jitter=0.4), "the images have 1 channel"),
    ],
)
def test_an_augmentation_that_does_not_fit_the_images_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        source.load_dataset(DataConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(name="cifar11"), "Did you mean cifar10"),
        (dict(path=""), "data.path is ''"),
        (dict(path=3), "data.path is 3"),
        (dict(digest="12"), "data.digest is '12'"),
        (dict(pad=-1), "data.pad is -1"),
        (dict(pad=1.5), "data.pad is 1.5"),
        (dict(pad=True), "data.pad is True"),
        (dict(cutout=float("nan")), "data.cutout is nan"),
        (dict(flip=1), "data.flip is 1"),
        (dict(colour_jitter=1.1), "data.colour_jitter is 1.1"),
        (dict(colour_jitter=float("nan")), "data.colour_jitter is nan"),
    ],
)
def test_a_setting_of_a_wrong_type_or_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


def test_reading_files_imports_no_heavy_library():
    # An empty stand-in for the package, because importing egnas_jax itself imports JAX.
    code = (
        "import sys, types; package = types.ModuleType('egnas_jax');"
        "package.__path__ = ['egnas_jax']; sys.modules['egnas_jax'] = package;"
        "import egnas_jax.data.source, egnas_jax.data.split, egnas_jax.data.examples;"
        "import egnas_jax.data.files.prepare, egnas_jax.data.files.prepare_folders;"
        "import egnas_jax.data.show;"
        "heavy = {'jax', 'tensorflow_datasets', 'sklearn', 'matplotlib', 'pyarrow',"
        "         'PIL'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
