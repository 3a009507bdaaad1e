"""What `prepare` writes, tensorflow-datasets reads, and so does this package."""

import json
import os

import numpy as np
import pytest

from egnas_jax.data.files import prepare as prepare_module
from egnas_jax.data.files.layouts import CIFAR100, CIFAR100_COARSE
from egnas_jax.data.files.prepare import prepare
from egnas_jax.data.files.prepared import find_prepared, read_prepared
from egnas_jax.data.source import load_cifar

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def written(request, official, tmp_path_factory):
    """(name, truth, tfds directory), with written once for the tests that only read."""
    name = request.param
    layout = official.layouts[name][0]
    layouts = {name: (layout,)}
    truth = official.truth(layout)
    home = tmp_path_factory.mktemp(name)
    official.folder(home, layout, truth)
    out = home / "tfds"
    folder = prepare(name, home, out, layouts)
    assert folder == out / name / "3.0.2"
    return name, truth, out


def test_the_data_source_of_tfds_reads_it_by_name(written):
    name, truth, out = written
    data = tfds.data_source(name, data_dir=out, split="train", download=False)
    assert len(data) == len(truth.train_images)
    for i, example in enumerate(data):
        assert example["id"] == f"train_{i:05d}".encode()
        np.testing.assert_array_equal(example["image"], truth.train_images[i])
        assert example["label"] == truth.train_labels[i, -1]
        if name == "cifar100":
            assert example["coarse_label"] == truth.train_labels[i, 0]


def test_it_carries_the_names_of_the_classes(written):
    name, _, out = written
    features = tfds.builder(name, data_dir=out).info.features
    if name == "cifar100":
        assert tuple(features["label"].names) == CIFAR100
        assert tuple(features["coarse_label"].names) == CIFAR100_COARSE
    else:
        assert features["label"].names[3] == "cat"


@pytest.mark.parametrize("below", ["", "NAME", "NAME/3.0.2"])
def test_it_is_a_data_dir_at_every_level(written, below):
    name, truth, out = written
    dataset = load_cifar(name, out / below.replace("NAME", name))
    np.testing.assert_array_equal(dataset.images, truth.train_images)
    np.testing.assert_array_equal(dataset.labels, truth.train_labels[:, -1])
    np.testing.assert_array_equal(dataset.test_images, truth.test_images)
    np.testing.assert_array_equal(dataset.test_labels, truth.test_labels[:, -1])


def test_the_usual_tfds_directory_is_looked_at_first(written, monkeypatch):
    name, truth, out = written
    monkeypatch.setenv("TFDS_DATA_DIR", str(out))
    dataset = load_cifar(name, None)
    np.testing.assert_array_equal(dataset.images, truth.train_images)


def test_an_existing_folder_is_not_overwritten(written, official):
    name, _, out = written
    with pytest.raises(ValueError, match="is already there"):
        prepare(name, out.parent, out, official.layouts)


def test_more_than_a_hundred_examples_are_all_written(tmp_path, official):
    # The parquet writer of tfds 4.9.10 loses every second hundred and more.
    layout = official.layouts["cifar100"][0]._replace(train_records=250)
    truth = official.truth(layout)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (250, 32, 32, 3), dtype=np.uint8)
    labels = np.stack([np.arange(250) % 20, np.arange(250) % 100], 1)
    folder = official.folder(tmp_path, layout, truth)
    records = [bytes(map(int, row)) for row in labels]
    planes = images.transpose(0, 3, 1, 2).reshape(250, -1)
    (folder / "train.bin").write_bytes(
        b"".join(
            row + plane.tobytes() for row, plane in zip(records, planes, strict=True)
        )
    )
    layouts = {"cifar100": (layout,)}
    train, _ = read_prepared(
        prepare("cifar100", tmp_path, tmp_path / "out", layouts), num_classes=100
    )
    np.testing.assert_array_equal(train.images, images)
    np.testing.assert_array_equal(train.labels, labels[:, 1])
    np.testing.assert_array_equal(train.coarse_labels, labels[:, 0])


@pytest.fixture
def small(tmp_path, official):
    """A version folder of its own, to be damaged."""
    layout = official.layouts["cifar100"][0]
    official.folder(tmp_path, layout, official.truth(layout))
    layouts = {"cifar100": (layout,)}
    return prepare("cifar100", tmp_path, tmp_path / "out", layouts)


@pytest.mark.parametrize("damage", ["missing", "empty", "short"])
def test_a_damaged_shard_is_refused(small, damage):
    shard = next(small.glob("*train.parquet*"))
    data = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as a prepared data set"):
        read_prepared(small, 100)


def test_a_shard_of_fewer_examples_than_declared_is_refused(small):
    info = small / "dataset_info.json"
    content = json.loads(info.read_text())
    content["splits"][0]["shardLengths"] = ["7"]
    info.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="train has 6 of 7 examples"):
        read_prepared(small, 100)


def test_tfrecord_without_tensorflow_is_refused_with_the_way_out(small, monkeypatch):
    info = small / "dataset_info.json"
    info.write_text(info.read_text().replace('"parquet"', '"tfrecord"'))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="tensorflow; `egnas data prepare` writes"):
        read_prepared(small, 100)


def test_labels_beyond_the_data_set_are_refused(small):
    with pytest.raises(ValueError, match="allowed are 0 to 1"):
        read_prepared(small, 2)


def test_the_newest_version_is_found(tmp_path):
    for version in ("3.0.2", "3.0.10"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").write_text("{}")
    assert find_prepared(tmp_path, "cifar10").name == "3.0.10"
    assert find_prepared(tmp_path, "cifar100") is None


def test_a_failed_preparation_leaves_nothing_behind(official, tmp_path, monkeypatch):
    layout = official.layouts["cifar10"][0]
    official.folder(tmp_path, layout, official.truth(layout))

    def fail(image):
        raise OSError("No space left on device")

    monkeypatch.setattr(prepare_module, "_png", fail)
    with pytest.raises(ValueError, match="No space left on device"):
        prepare("cifar10", tmp_path, tmp_path / "out", official.layouts)
    assert os.listdir(tmp_path / "out" / "cifar10") == []


def test_preparing_needs_official_files(tmp_path, official):
    with pytest.raises(ValueError, match="holds no official cifar10 files"):
        prepare("cifar10", tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="Unknown data set to prepare 'digits'"):
        prepare("digits", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
