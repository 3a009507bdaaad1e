"""The .npz of a run is found where it lies now, and data are told from places."""

import dataclasses

import pytest

from egnas_jax.data.config import DataConfig
from egnas_jax.data.location import located, same_data

DIGEST = "a" * 64


@pytest.fixture
def file(tmp_path):
    """A file in a folder of its own."""
    path = tmp_path / "here" / "mine.npz"
    path.parent.mkdir()
    path.touch()
    return path


@pytest.mark.parametrize(
    "stored", ["/gone/mine.npz", "mine.npz", "C:\\gone\\mine.npz", "~/mine.npz"]
)
def test_a_moved_file_is_found_by_its_name_in_the_data_dir(stored, file):
    config = DataConfig(path=stored, digest=DIGEST)
    assert located(config, file.parent).path == str(file)
    assert located(located(config, file.parent), file.parent).path == str(file)


def test_a_relative_path_becomes_absolute(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    config = DataConfig(path="mine.npz")
    assert located(config) == dataclasses.replace(config, path=str(file))


def test_the_data_dir_is_the_only_place(file, tmp_path):
    config = DataConfig(path=str(file))
    with pytest.raises(ValueError, match="holds no mine.npz.*--set data.path="):
        located(config, tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        located(config, tmp_path / "none")


def test_a_stored_file_that_is_gone_names_both_ways_out(tmp_path):
    config = DataConfig(path=str(tmp_path / "mine.npz"), digest=DIGEST)
    with pytest.raises(ValueError, match="--data-dir or the file by --set data.path="):
        located(config)


def test_a_named_data_set_has_no_place():
    assert located(DataConfig(name="cifar10"), "/no/such") == DataConfig(name="cifar10")


@pytest.mark.parametrize(
    "old, new, same",
    [
        (dict(path="/a/x.npz"), dict(path="/b/y.npz"), True),
        (dict(path="/a/x.npz", name="cifar10"), dict(path="/b/y.npz"), True),
        (dict(path="/a/x.npz"), dict(path="/a/x.npz", digest="b" * 64), False),
        (dict(path="/a/x.npz", digest=None), dict(path="/b/x.npz"), False),
        (dict(path="/a/x.npz", digest=None), dict(path="/b/x", digest=None), False),
        (dict(name="digits"), dict(path="/a/x.npz"), True),
        (dict(name="cifar10"), dict(path="/a/x.npz"), False),  # other mean and std
        (dict(name="cifar10"), dict(name="cifar10"), True),
    ],
)
def test_equal_digests_make_data_equal_wherever_they_lie(old, new, same):
    old, new = (DataConfig(**{"digest": DIGEST, **fields}) for fields in (old, new))
    assert same_data(old, new) is same_data(new, old) is same
