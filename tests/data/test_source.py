"""Which place the images come from, and what is said when there is none."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from egnas_jax.data import source
from egnas_jax.data.config import DataConfig
from egnas_jax.data.dataset import CIFAR_MEAN
from egnas_jax.data.files import download


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No files in the usual places; counts attempts to reach the net."""
    attempts = []

    def refuse(url, timeout):
        attempts.append(url)
        raise OSError("Name or service not known")

    monkeypatch.setattr(download.urllib.request, "urlopen", refuse)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return attempts


def test_digits_are_bytes_of_the_full_range():
    dataset = source.load_dataset(DataConfig(), seed=0)
    assert dataset.images.shape == (1438, 8, 8, 1)
    assert dataset.test_images.shape == (359, 8, 8, 1)
    assert dataset.images.dtype == np.uint8 and dataset.labels.dtype == np.int32
    # 0..16 in steps of 255 / 16, rounded
    assert set(np.unique(dataset.images)) <= {round(i * 255 / 16) for i in range(17)}
    assert dataset.images.max() == 255 and dataset.num_classes == 10


def test_a_path_wins_over_the_name(tmp_path, offline):
    path = tmp_path / "mine.npz"
    pixels = np.zeros((20, 8, 8, 1), np.uint8)
    np.savez(path, images=pixels, labels=np.arange(20) % 2)
    dataset = source.load_dataset(DataConfig(name="cifar10", path=str(path)))
    assert dataset.name == "mine" and dataset.num_classes == 2 and not offline


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_official_files_become_a_data_set(official, tmp_path, name):
    layout = official.layouts[name][0]
    truth = official.truth(layout)
    official.folder(tmp_path, layout, truth)
    dataset = source.load_cifar(name, tmp_path, official.layouts)
    np.testing.assert_array_equal(dataset.images, truth.train_images)
    np.testing.assert_array_equal(dataset.test_labels, truth.test_labels[:, -1])
    assert dataset.num_classes == len(dataset.class_names) == layout.num_classes[-1]
    assert dataset.mean == CIFAR_MEAN


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_data_dir_without_the_set_lists_what_was_looked_for(tmp_path, name, offline):
    with pytest.raises(ValueError, match=f"holds no {name}: looked for") as caught:
        source.load_dataset(DataConfig(name=name), tmp_path)
    for layout in source.LAYOUTS[name]:
        assert layout.folder in str(caught.value) and layout.archive in str(
            caught.value
        )
    assert not offline  # the only place looked at


def test_an_incomplete_folder_is_not_passed_over_for_another(official, tmp_path):
    for layout in official.layouts["cifar10"]:
        official.folder(tmp_path, layout, official.truth(layout))
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    with pytest.raises(ValueError, match="lacks test_batch.bin"):
        source.load_cifar("cifar10", tmp_path, official.layouts)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_missing_data_dir_is_an_error_for_every_set(tmp_path, name):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        source.load_dataset(DataConfig(name=name), tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        source.load_dataset(DataConfig(name=name), tmp_path / "file")


def test_without_files_or_net_one_error_names_places_and_ways_out(tmp_path, offline):
    with pytest.raises(ValueError) as caught:
        source.load_dataset(DataConfig(name="cifar10"))
    message = str(caught.value)
    for part in (
        str(tmp_path / "tfds"),
        download.ARCHIVES["cifar10"].url,
        "Name or service not known",
        "--data-dir",
        "egnas data prepare",
        "data.path",
    ):
        assert part in message
    assert len(message.splitlines()) <= 3
    assert len(offline) == 1


def test_a_downloaded_archive_is_read(official, tmp_path, offline, monkeypatch):
    layout = official.layouts["cifar100"][0]
    truth = official.truth(layout)
    archive = official.archive(tmp_path, layout, truth)
    monkeypatch.setattr(download, "fetch", lambda wanted, folder: archive)
    dataset = source.load_cifar("cifar100", None, official.layouts)
    np.testing.assert_array_equal(dataset.images, truth.train_images)


def test_shifts_and_squares_must_suit_the_images():
    with pytest.raises(ValueError, match="cutout=16 does not suit images of 8x8"):
        source.load_dataset(DataConfig(cutout=16))
    with pytest.raises(ValueError, match=r"pad=8 .* allowed is 0 to 7"):
        source.load_dataset(DataConfig(pad=8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(name="cifar11"), "Did you mean cifar10"),
        (dict(path=""), "data.path is ''"),
        (dict(pad=-1), "data.pad is -1"),
        (dict(pad=1.5), "data.pad is 1.5"),
        (dict(pad=True), "data.pad is True"),
        (dict(cutout=float("nan")), "data.cutout is nan"),
        (dict(flip=1), "data.flip is 1"),
    ],
)
def test_a_bad_setting_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**change)


def test_heavy_libraries_are_not_imported_to_read_files():
    code = (
        "import sys, types; package = types.ModuleType('egnas_jax');"
        "package.__path__ = ['egnas_jax']; sys.modules['egnas_jax'] = package;"
        "import egnas_jax.data.source, egnas_jax.data.split;"
        "import egnas_jax.data.files.prepare, egnas_jax.data.show;"
        "heavy = {'jax', 'tensorflow_datasets', 'sklearn', 'matplotlib', 'pyarrow'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
