"""The official CIFAR files are read as they were written, or refused."""

import os
import pickle
import tarfile

import numpy as np
import pytest

from egnas_jax.data.files.layouts import find_official
from egnas_jax.data.files.official import read_all_labels, read_official
from egnas_jax.data.files.unpickle import load_pickled_arrays

LAYOUTS = [(name, i) for name in ("cifar10", "cifar100") for i in (0, 1)]


def assert_reads(source, layout, content):
    with_last_label = read_official(source, layout)
    with_all_labels = read_all_labels(source, layout)
    for expected, examples, (images, labels) in zip(
        content, with_last_label, with_all_labels, strict=True
    ):
        np.testing.assert_array_equal(examples.images, expected.images)
        np.testing.assert_array_equal(images, expected.images)
        np.testing.assert_array_equal(examples.labels, expected.labels[:, -1])
        assert tuple(labels) == layout.label_keys
        np.testing.assert_array_equal(np.stack([*labels.values()], 1), expected.labels)
        assert examples.images.dtype == np.uint8
        assert examples.labels.dtype == np.int32


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "archive", "folder itself"])
def test_every_official_layout_is_read(official, tmp_path, name, number, kind):
    layout = official.layouts[name][number]
    content = official.content(layout)
    if kind == "archive":
        official.write_archive(tmp_path, layout, content)
    else:
        official.write_folder(tmp_path, layout, content)
    directory = tmp_path / layout.folder if kind == "folder itself" else tmp_path
    assert_reads(*find_official(directory, official.layouts[name]), content)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(official, tmp_path, protocol):
    layout = official.layouts["cifar10"][1]
    content = official.content(layout)
    folder = official.write_folder(tmp_path, layout, content, protocol=protocol)
    assert_reads(folder, layout, content)


def test_a_renamed_folder_is_recognised_by_its_files(official, tmp_path):
    layout = official.layouts["cifar10"][0]
    content = official.content(layout)
    folder = official.write_folder(tmp_path, layout, content)
    folder = folder.rename(tmp_path / "mine")
    assert_reads(*find_official(folder, official.layouts["cifar10"]), content)


def test_a_directory_without_official_files_gives_none(official, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert find_official(tmp_path, official.layouts["cifar10"]) is None


def test_reading_an_archive_extracts_nothing_to_disk(official, tmp_path):
    layout = official.layouts["cifar10"][0]
    archive = official.write_archive(tmp_path, layout, official.content(layout))
    read_official(archive, layout)
    assert os.listdir(tmp_path) == [archive.name]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "foreign"])
def test_the_error_names_the_damaged_file(official, tmp_path, number, damage):
    layout = official.layouts["cifar10"][number]
    folder = official.write_folder(tmp_path, layout, official.content(layout))
    path = folder / layout.train[2]
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        damaged = {"empty": b"", "short": data[:-1000], "foreign": b"\x89PNG" * 99}
        path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=path.name):
        read_official(folder, layout)


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
def test_a_file_with_too_many_records_is_refused(official, tmp_path, name, number):
    layout = official.layouts[name][number]
    folder = official.write_folder(tmp_path, layout, official.content(layout))
    shorter = layout._replace(test_records=layout.test_records - 1)
    with pytest.raises(ValueError, match=layout.test[0]):
        read_official(folder, shorter)


@pytest.mark.parametrize("number", [0, 1])
def test_a_label_out_of_range_is_refused(official, tmp_path, number):
    layout = official.layouts["cifar10"][number]
    content = official.content(layout)
    content.test.labels[3] = 10
    folder = official.write_folder(tmp_path, layout, content)
    message = "image 3 has the label 10, but it must be from 0 to 9"
    with pytest.raises(ValueError, match=message):
        read_official(folder, layout)


@pytest.mark.parametrize("length", [0, 10, 5000])
def test_a_truncated_archive_is_refused(official, tmp_path, length):
    layout = official.layouts["cifar10"][0]
    archive = official.write_archive(tmp_path, layout, official.content(layout))
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(ValueError, match="is damaged or not a tar.gz archive"):
        read_official(archive, layout)


def test_links_inside_an_archive_are_not_followed(official, tmp_path):
    layout = official.layouts["cifar100"][0]
    archive = tmp_path / layout.archive
    with tarfile.open(archive, "w:gz") as tar:
        for name in (*layout.train, *layout.test):
            link = tarfile.TarInfo(f"{layout.folder}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(link)
    with pytest.raises(ValueError, match=r"lacks train.bin, test.bin"):
        read_official(archive, layout)


class MakesFolder:
    """An object whose pickle calls `os.mkdir` when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(official, tmp_path):
    layout = official.layouts["cifar10"][1]
    folder = official.write_folder(tmp_path, layout, official.content(layout))
    trap = tmp_path / "ran"
    malicious = pickle.dumps({b"data": MakesFolder(str(trap))})
    (folder / "data_batch_1").write_bytes(malicious)
    with pytest.raises(ValueError, match="data_batch_1.*refuses to load"):
        read_official(folder, layout)
    assert not trap.exists()


def test_a_codec_other_than_latin1_is_refused():
    # GLOBAL _codecs.encode, ("x", "rot13"), REDUCE
    data = b"c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR."
    with pytest.raises(ValueError, match="refuses the encoding 'rot13'"):
        load_pickled_arrays(data)


@pytest.mark.parametrize(
    "pickled",
    [
        [1, 2],
        {b"labels": [1] * 6},
        {b"data": "text", b"labels": [1] * 6},
        {b"data": np.zeros((6, 3072), np.float32), b"labels": [1] * 6},
        {b"data": np.zeros((6, 3072), np.uint8), b"labels": [1.5] * 6},
        {b"data": np.zeros((6, 3072), np.uint8), b"labels": [1] * 5},
    ],
    ids=["list", "no data", "text", "float pixels", "float labels", "few labels"],
)
def test_a_pickle_without_images_and_labels_is_refused(official, tmp_path, pickled):
    layout = official.layouts["cifar10"][1]
    folder = official.write_folder(tmp_path, layout, official.content(layout))
    (folder / "data_batch_4").write_bytes(pickle.dumps(pickled))
    with pytest.raises(ValueError, match="data_batch_4"):
        read_official(folder, layout)
