"""tensorflow-datasets reads the folders that `prepare` writes, and so do we."""

import json

import numpy as np
import pytest

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.data.files import prepare as prepare_module
from egnas_jax.data.files.layouts import CIFAR100_COARSE_NAMES, CLASS_NAMES
from egnas_jax.data.files.prepare import prepare
from egnas_jax.data.files.prepared import find_prepared, read_prepared
from egnas_jax.data.source import load_cifar

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module", params=["cifar10", "cifar100"])
def prepared(request, official, tmp_path_factory):
    """(name, content, tfds directory); shared by the tests that only read."""
    name = request.param
    layout = official.layouts[name][0]
    content = official.content(layout)
    data_dir = tmp_path_factory.mktemp(name)
    official.write_folder(data_dir, layout, content)
    out = data_dir / "tfds"
    assert prepare(name, data_dir, out, {name: (layout,)}) == out / name / "3.0.2"
    return name, content, out


def assert_tfds_reads(name, out, split, content):
    source = tfds.data_source(name, data_dir=out, split=split, download=False)
    assert len(source) == len(content.images)
    label_features = ["coarse_label", "label"][-content.labels.shape[1] :]
    for i, example in enumerate(source):
        assert example["id"] == f"{split}_{i:05d}".encode()
        np.testing.assert_array_equal(example["image"], content.images[i])
        labels = [example[feature] for feature in label_features]
        assert labels == content.labels[i].tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_tfds_data_source_reads_the_folder_by_name(prepared, split):
    name, content, out = prepared
    assert_tfds_reads(name, out, split, getattr(content, split))


def test_tfds_knows_the_class_names(prepared):
    name, _, out = prepared
    features = tfds.builder(name, data_dir=out).info.features
    assert tuple(features["label"].names) == CLASS_NAMES[name]
    assert CLASS_NAMES["cifar10"][3] == "cat" and CLASS_NAMES["cifar100"][3] == "bear"
    if name == "cifar100":
        assert tuple(features["coarse_label"].names) == CIFAR100_COARSE_NAMES


@pytest.mark.parametrize("below", ["", "NAME", "NAME/3.0.2"])
def test_data_dir_may_name_any_level_of_the_tfds_directory(prepared, below):
    name, content, out = prepared
    dataset = load_cifar(name, out / below.replace("NAME", name))
    np.testing.assert_array_equal(dataset.images, content.train.images)
    np.testing.assert_array_equal(dataset.labels, content.train.labels[:, -1])
    np.testing.assert_array_equal(dataset.test_images, content.test.images)
    np.testing.assert_array_equal(dataset.test_labels, content.test.labels[:, -1])


def test_without_data_dir_the_usual_tfds_directory_is_read(prepared, monkeypatch):
    name, content, out = prepared
    monkeypatch.setenv("TFDS_DATA_DIR", str(out))
    dataset = load_cifar(name, None)
    np.testing.assert_array_equal(dataset.images, content.train.images)


def test_an_existing_folder_is_not_overwritten(prepared, official):
    name, _, out = prepared
    with pytest.raises(ValueError, match="is already there"):
        prepare(name, out.parent, out, official.layouts)


def test_more_than_a_hundred_examples_are_all_written(tmp_path, official):
    # The parquet writer of tfds 4.9.10 loses 100 of the second 200 examples and more.
    layout = official.layouts["cifar100"][0]._replace(train_records=250)
    images = np.random.default_rng(0).integers(0, 256, (250, 32, 32, 3), np.uint8)
    labels = np.stack([np.arange(250) % 20, np.arange(250) % 100], 1)
    train = LabelledImages(images, labels)
    content = official.content(layout)._replace(train=train)
    official.write_folder(tmp_path, layout, content)
    out = tmp_path / "out"
    folder = prepare("cifar100", tmp_path, out, {"cifar100": (layout,)})
    examples, _ = read_prepared(folder, num_classes=100)
    np.testing.assert_array_equal(examples.images, images)
    np.testing.assert_array_equal(examples.labels, labels[:, 1])
    assert_tfds_reads("cifar100", out, "train", train)


@pytest.fixture
def version_folder(tmp_path, official):
    """A version folder that the test may damage."""
    layout = official.layouts["cifar100"][0]
    official.write_folder(tmp_path, layout, official.content(layout))
    return prepare("cifar100", tmp_path, tmp_path / "out", {"cifar100": (layout,)})


@pytest.mark.parametrize("damage", ["missing", "empty", "short"])
def test_a_damaged_shard_is_refused(version_folder, damage):
    shard = next(version_folder.glob("*train.parquet*"))
    data = shard.read_bytes()
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as a prepared data set"):
        read_prepared(version_folder, 100)


def test_fewer_examples_than_the_metadata_state_are_refused(version_folder):
    info = version_folder / "dataset_info.json"
    metadata = json.loads(info.read_text())
    metadata["splits"][0]["shardLengths"] = ["7"]
    info.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="train has 6 of 7 examples"):
        read_prepared(version_folder, 100)


def test_tfrecord_without_tensorflow_is_refused_with_a_way_out(
    version_folder, monkeypatch
):
    info = version_folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"parquet"', '"tfrecord"'))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="tensorflow; `egnas data prepare` writes"):
        read_prepared(version_folder, 100)


def test_labels_outside_the_classes_are_refused(version_folder):
    with pytest.raises(ValueError, match="labels must be from 0 to 1"):
        read_prepared(version_folder, 2)


def test_the_newest_version_is_found(tmp_path):
    for version in ("3.0.2", "3.0.10"):
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").write_text("{}")
    assert find_prepared(tmp_path, "cifar10").name == "3.0.10"
    assert find_prepared(tmp_path, "cifar100") is None


def test_a_failed_preparation_leaves_nothing_behind(official, tmp_path, monkeypatch):
    layout = official.layouts["cifar10"][0]
    official.write_folder(tmp_path, layout, official.content(layout))

    def fail(image):
        raise OSError("No space left on device")

    monkeypatch.setattr(prepare_module, "_png", fail)
    with pytest.raises(ValueError, match="No space left on device"):
        prepare("cifar10", tmp_path, tmp_path / "out", official.layouts)
    assert not (tmp_path / "out").exists()


def test_a_directory_without_official_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no official cifar10 files"):
        prepare("cifar10", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_data_set_without_official_files_cannot_be_prepared(tmp_path):
    with pytest.raises(ValueError, match="Unknown data set to prepare 'digits'"):
        prepare("digits", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
