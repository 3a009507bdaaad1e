"""Folders that are replaced as a whole."""

import pytest

from benchmarks.replaced import replaced


def test_a_folder_is_replaced_with_all_its_files(tmp_path):
    folder = tmp_path / "folder"
    (folder / "old").mkdir(parents=True)
    with replaced(folder) as new:
        (new / "file").write_text("new")
    assert [path.name for path in folder.rglob("*")] == ["file"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_leaves_the_folder_as_it_was(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("old")
    with pytest.raises(OSError), replaced(folder) as new:
        (new / "file").write_text("new")
        raise OSError("no space")
    assert (folder / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_kill_left_is_no_part_of_the_folder(tmp_path):
    folder = tmp_path / "folder"
    with replaced(folder) as new:
        pass
    new.mkdir()
    (new / "half").write_text("")
    with replaced(folder):
        pass
    assert list(folder.iterdir()) == []
