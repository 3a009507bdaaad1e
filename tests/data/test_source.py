"""Files in, pixels out."""

import io
import pickle
import tarfile

import numpy as np
import pytest

from egnas_jax.data import source
from egnas_jax.data.source import DataConfig, load_dataset
from egnas_jax.data.split import make_splits


def write_npz(path, **changes):
    arrays = {
        "images": np.zeros((20, 8, 8, 1), np.uint8),
        "labels": np.arange(20) % 2,
        **changes,
    }
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return str(path)


@pytest.fixture
def small_cifar(monkeypatch):
    """The official layout with 10 training and 2 test images."""
    small = source.OFFICIAL["cifar10"]._replace(train=10, test=2)
    monkeypatch.setitem(source.OFFICIAL, "cifar10", small)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 12)
    pixels = generator.integers(0, 256, (12, 3072), dtype=np.uint8)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    parts = {name: slice(2 * i, 2 * i + 2) for i, name in enumerate(names)}
    return labels, pixels, parts


def binary(labels, pixels, part):
    rows = np.concatenate([labels[part, None].astype(np.uint8), pixels[part]], axis=1)
    return rows.tobytes()


def check(dataset, labels, pixels):
    np.testing.assert_array_equal(dataset.labels, labels[:10])
    np.testing.assert_array_equal(dataset.test_labels, labels[10:])
    # a row is the red plane, the green, the blue, each row by row
    assert dataset.images[3, 5, 7, 2] == pixels[3, 2 * 1024 + 5 * 32 + 7]


def test_official_binary_files(small_cifar, tmp_path):
    labels, pixels, parts = small_cifar
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, part in parts.items():
        (folder / f"{name}.bin").write_bytes(binary(labels, pixels, part))
    for place in (tmp_path, folder):
        check(load_dataset(DataConfig(name="cifar10"), str(place)), labels, pixels)
    (folder / "data_batch_2.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="data_batch_2.bin has 3 bytes"):
        load_dataset(DataConfig(name="cifar10"), str(tmp_path))


def test_official_python_files_and_archive(small_cifar, tmp_path):
    labels, pixels, parts = small_cifar
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, part in parts.items():
            table = {b"data": pixels[part], b"labels": labels[part].tolist()}
            content = pickle.dumps(table)
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    check(load_dataset(DataConfig(name="cifar10"), str(tmp_path)), labels, pixels)


def test_a_pickle_that_runs_code_is_refused(small_cifar, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_run"), "w"))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in small_cifar[2]:
        (folder / name).write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(ValueError, match="no official python batch"):
        load_dataset(DataConfig(name="cifar10"), str(tmp_path))
    assert not (tmp_path / "was_run").exists()


def test_a_missing_folder_and_a_foreign_one_say_what_was_looked_for(tmp_path):
    config = DataConfig(name="cifar100")
    with pytest.raises(ValueError, match="is no folder"):
        load_dataset(config, str(tmp_path / "nowhere"))
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="cifar-100-binary.*found holiday.jpg"):
        load_dataset(config, str(tmp_path))
    with pytest.raises(ValueError, match="--data-dir"):
        load_dataset(config)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": None}, "no array 'labels'"),
        ({"images": np.zeros((20, 8, 8, 1))}, "must be uint8"),
        ({"images": np.zeros((20, 8, 8), np.uint8)}, "must be uint8"),
        ({"labels": np.arange(19)}, "one label an image"),
        ({"labels": np.arange(20) - 1}, "hold -1"),
        ({"labels": np.arange(20) / 2}, "whole numbers"),
        ({"labels": np.zeros(20, int)}, "at least 2"),
    ],
)
def test_bad_npz_files_are_refused(tmp_path, changes, message):
    path = write_npz(tmp_path / "own.npz", **changes)
    with pytest.raises(ValueError, match=message):
        load_dataset(DataConfig(path=path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04short", b"\x89PNG foreign"])
def test_files_that_are_no_npz_are_refused(tmp_path, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_dataset(DataConfig(path=str(path)))


def test_an_npz_is_the_data_whatever_the_name_says(tmp_path):
    path = write_npz(tmp_path / "own.npz")
    dataset = load_dataset(DataConfig(name="cifar10", path=path))
    assert (dataset.name, dataset.num_classes) == ("own", 2)


def test_digits_are_split_by_class_and_completely():
    dataset = load_dataset(DataConfig())
    splits = make_splits(dataset, "permutation", 0)
    assert [len(part.labels) for part in splits] == [719, 719, 359]
    for part in splits:
        counts = np.bincount(part.labels) / len(part.labels)
        np.testing.assert_allclose(counts, 0.1, atol=0.01)
    again = make_splits(dataset, "permutation", 0)
    other = make_splits(dataset, "permutation", 1)
    np.testing.assert_array_equal(splits.train.images, again.train.images)
    assert not np.array_equal(splits.train.images, other.train.images)
    total = sum(part.images.astype(int).sum() for part in splits)
    assert total == dataset.images.astype(int).sum()


def test_file_order_cuts_an_official_pool_in_the_middle(tmp_path):
    path = write_npz(
        tmp_path / "own.npz",
        test_images=np.ones((3, 8, 8, 1), np.uint8),
        test_labels=np.zeros(3, int),
    )
    dataset = load_dataset(DataConfig(path=path))
    splits = make_splits(dataset, "file_order", 5)
    np.testing.assert_array_equal(splits.train.labels, np.arange(10) % 2)
    assert len(splits.test.labels) == 3
