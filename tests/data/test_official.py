"""The official forms of CIFAR are read as they were written, or refused."""

import os
import pickle
import tarfile

import numpy as np
import pytest

from egnas_jax.data.files.layouts import find_official
from egnas_jax.data.files.official import read_official
from egnas_jax.data.files.unpickle import load_pickled_arrays

FORMS = [(name, i) for name in ("cifar10", "cifar100") for i in (0, 1)]


def assert_reads(found, layout, truth):
    train, test = read_official(*found)
    for got, images, labels in (
        (train, truth.train_images, truth.train_labels),
        (test, truth.test_images, truth.test_labels),
    ):
        np.testing.assert_array_equal(got.images, images)
        np.testing.assert_array_equal(got.labels, labels[:, -1])
        assert got.images.dtype == np.uint8 and got.labels.dtype == np.int32
        if len(layout.label_keys) == 2:
            np.testing.assert_array_equal(got.coarse_labels, labels[:, 0])
        else:
            assert got.coarse_labels is None


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("kind", ["folder", "archive", "folder itself"])
def test_every_official_form_is_read_back(official, tmp_path, name, form, kind):
    layout = official.layouts[name][form]
    truth = official.truth(layout)
    if kind == "archive":
        official.archive(tmp_path, layout, truth)
    else:
        official.folder(tmp_path, layout, truth)
    place = tmp_path / layout.folder if kind == "folder itself" else tmp_path
    assert_reads(find_official(place, official.layouts[name]), layout, truth)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(official, tmp_path, protocol):
    layout = official.layouts["cifar10"][1]
    truth = official.truth(layout)
    folder = official.folder(tmp_path, layout, truth, protocol=protocol)
    assert_reads((folder, layout), layout, truth)


def test_a_folder_is_known_by_its_files_under_another_name(official, tmp_path):
    layout = official.layouts["cifar10"][0]
    truth = official.truth(layout)
    folder = official.folder(tmp_path, layout, truth).rename(tmp_path / "mine")
    assert_reads(find_official(folder, official.layouts["cifar10"]), layout, truth)


def test_nothing_known_is_not_found(official, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert find_official(tmp_path, official.layouts["cifar10"]) is None


def test_no_file_is_written_while_an_archive_is_read(official, tmp_path):
    layout = official.layouts["cifar10"][0]
    archive = official.archive(tmp_path, layout, official.truth(layout))
    read_official(archive, layout)
    assert os.listdir(tmp_path) == [archive.name]


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "foreign"])
def test_a_damaged_file_is_named(official, tmp_path, form, damage):
    layout = official.layouts["cifar10"][form]
    folder = official.folder(tmp_path, layout, official.truth(layout))
    victim = folder / layout.train[2]
    data = victim.read_bytes()
    if damage == "missing":
        victim.unlink()
    else:
        changed = {"empty": b"", "short": data[:-1000], "foreign": b"\x89PNG" * 99}
        victim.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=victim.name):
        read_official(folder, layout)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("form", [0, 1])
def test_a_file_of_too_many_records_is_refused(official, tmp_path, name, form):
    layout = official.layouts[name][form]
    folder = official.folder(tmp_path, layout, official.truth(layout))
    fewer = layout._replace(test_records=layout.test_records - 1)
    with pytest.raises(ValueError, match=layout.test[0]):
        read_official(folder, fewer)


@pytest.mark.parametrize("form", [0, 1])
def test_a_label_out_of_range_is_refused(official, tmp_path, form):
    layout = official.layouts["cifar10"][form]
    truth = official.truth(layout)
    truth.test_labels[3] = 10
    folder = official.folder(tmp_path, layout, truth)
    with pytest.raises(
        ValueError, match="image 3 has the label 10; allowed are 0 to 9"
    ):
        read_official(folder, layout)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_a_truncated_archive_is_refused(official, tmp_path, keep):
    layout = official.layouts["cifar10"][0]
    archive = official.archive(tmp_path, layout, official.truth(layout))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is no whole tar.gz"):
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


class Touch:
    """Pickles as a call of `os.mkdir`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_pickle_is_refused_and_not_run(official, tmp_path):
    layout = official.layouts["cifar10"][1]
    folder = official.folder(tmp_path, layout, official.truth(layout))
    trap = tmp_path / "ran"
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": Touch(str(trap))}))
    with pytest.raises(ValueError, match="data_batch_1.*refuses to load"):
        read_official(folder, layout)
    assert not trap.exists()


def test_a_codec_other_than_latin1_is_refused():
    # GLOBAL _codecs.encode, ("x", "rot13"), REDUCE
    data = b"c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR."
    with pytest.raises(ValueError, match="refuses the encoding 'rot13'"):
        load_pickled_arrays(data)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {b"labels": [1] * 6},
        {b"data": "text", b"labels": [1] * 6},
        {b"data": np.zeros((6, 3072), np.float32), b"labels": [1] * 6},
        {b"data": np.zeros((6, 3072), np.uint8), b"labels": [1.5] * 6},
        {b"data": np.zeros((6, 3072), np.uint8), b"labels": [1] * 5},
    ],
)
def test_a_pickle_of_something_else_is_refused(official, tmp_path, content):
    layout = official.layouts["cifar10"][1]
    folder = official.folder(tmp_path, layout, official.truth(layout))
    (folder / "data_batch_4").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="data_batch_4"):
        read_official(folder, layout)
