"""Folders of photographs are looked at before they are prepared."""

import os
import shutil

import numpy as np
import pytest
from deep_png import png_of_16_bits
from PIL import Image

from egnas_jax.data.files import tfds_folder
from egnas_jax.data.files.image_checks import readable
from egnas_jax.data.files.image_folders import SUFFIXES, list_images
from egnas_jax.data.files.prepare_folders import prepare_folders

RNG = np.random.default_rng(0)


def photograph(channels=3):
    shape = (20, 24, channels) if channels > 1 else (20, 24)
    return RNG.integers(0, 256, shape, np.uint8)


def write(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = photograph() if image is None else image
    Image.fromarray(image).save(path, **options)
    return path


@pytest.fixture
def folders(tmp_path):
    """Two photographs of each of two classes for training, and one for validation."""
    for name in ("cat", "dog"):
        for i in range(2):
            write(tmp_path / "train" / name / f"{i}.png")
        write(tmp_path / "val" / name / "0.png")
    return tmp_path


def names(folders):
    """Split -> class -> names of the files that are listed."""
    return {
        split: {name: [path.name for path in paths] for name, paths in files.items()}
        for split, files in list_images(folders).by_split.items()
    }


PLAIN = {
    "train": {"cat": ["0.png", "1.png"], "dog": ["0.png", "1.png"]},
    "validation": {"cat": ["0.png"], "dog": ["0.png"]},
}


def test_hidden_files_and_folders_are_neither_images_nor_classes(folders):
    for split in ("train", "val"):
        write(folders / split / ".ipynb_checkpoints" / "0-checkpoint.png")
        write(folders / split / "__MACOSX" / "._0.png")
        write(folders / split / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png")
        (folders / split / "cat" / "._0.png").write_bytes(b"\0\5\26\7" + bytes(100))
        (folders / split / ".DS_Store").write_bytes(b"x")
    assert names(folders) == PLAIN
    assert not list_images(folders).left_out


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".TIFF", ".gif", ".ppm"])
def test_every_format_that_pillow_reads_is_taken(folders, suffix):
    write(folders / "train" / "cat" / f"x{suffix}")
    listed = list_images(folders)
    assert names(folders)["train"]["cat"] == ["0.png", "1.png", f"x{suffix}"]
    readable(listed.by_split, skip_broken=False, log=pytest.fail)


def test_pillow_knows_every_suffix():
    known = Image.registered_extensions()
    assert [suffix for suffix in SUFFIXES if known.get(suffix) not in Image.OPEN] == []


def test_other_files_are_counted_by_suffix(folders):
    cat = folders / "train" / "cat"
    for name in ("a.txt", "b.TXT", "c.heic", "noname"):
        (cat / name).write_text("x")
    write(cat / "more" / "0.png")
    (cat / "folder.png").mkdir()
    (folders / "val" / "list.csv").write_text("x")
    write(folders / "val" / "stray.png")
    assert names(folders) == PLAIN
    assert dict(list_images(folders).left_out) == {
        ".txt": 2,
        ".heic": 1,
        "without a suffix": 1,
        "inner folder": 2,
        ".csv": 1,
        ".png outside a class": 1,
    }


@pytest.mark.parametrize("name", ["lost+found", "$RECYCLE.BIN", "@eaDir"])
def test_folders_of_the_file_system_are_no_classes(name, folders):
    for split in ("train", "val"):
        (folders / split / name).mkdir()
    assert names(folders) == PLAIN


def test_two_folders_for_validation_are_refused(folders):
    shutil.copytree(folders / "val", folders / "validation")
    with pytest.raises(ValueError, match="holds both val/ and validation/"):
        list_images(folders)
    shutil.rmtree(folders / "val")
    assert names(folders) == PLAIN
    (folders / "val").symlink_to("validation")
    assert names(folders) == PLAIN


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("val", "test", r"no folder val/ or validation/ \(found: test, train\)"),
        ("train", "test", r"no folder train/ \(found: test, val\)"),
    ],
)
def test_a_missing_split_is_named_with_what_is_there(removed, added, message, folders):
    (folders / removed).rename(folders / added)
    with pytest.raises(ValueError, match=message):
        list_images(folders)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"caf\xe9", r"caf\\\\xe9.* is not UTF-8"), (b"c\nat", "holds a line break")]
    + [(b"cat ", "ends with a space"), (b"c\xc2\x85at", "holds a line break")],
)
def test_class_names_that_cannot_be_stored_are_refused(name, shown, folders):
    for split in ("train", "val"):
        os.rename(folders / split / "cat", os.fsencode(folders / split) + b"/" + name)
    with pytest.raises(ValueError, match=shown) as error:
        list_images(folders)
    assert "Rename the folder" in str(error.value)
    str(error.value).encode()  # it can be printed


def test_other_alphabets_are_class_names(folders):
    for split in ("train", "val"):
        (folders / split / "cat").rename(folders / split / "кот 猫")
    assert "кот 猫" in names(folders)["train"]


def test_file_names_that_are_not_utf8_are_named_or_left_out(folders):
    cat = os.fsencode(folders / "train" / "cat")
    os.rename(cat + b"/0.png", cat + b"/caf\xe9.png")
    with pytest.raises(ValueError, match=r"caf\\xe9.png: its name is not UTF-8"):
        checked(folders)
    files, notes = checked(folders, skip_broken=True)
    assert [path.name for path in files["train"]["cat"]] == ["1.png"]
    assert r"caf\xe9.png: its name is not UTF-8" in notes


def test_a_class_without_images_names_what_it_holds_instead(folders):
    for split in ("train", "val"):
        (folders / split / "emu").mkdir()
        (folders / split / "emu" / "0.heic").write_text("x")
    with pytest.raises(ValueError, match=r"train/emu holds no image \(but 1 .heic\)"):
        list_images(folders)


def checked(folders, skip_broken=False):
    """The files that can be read, and the notes on them."""
    notes = []
    files = readable(
        list_images(folders).by_split, skip_broken=skip_broken, log=notes.append
    )
    return files, "\n".join(notes)


def break_file(path):
    path.write_bytes(path.read_bytes()[:200])
    return path


def test_every_broken_image_is_named(folders):
    broken = [
        break_file(folders / "train" / "cat" / "1.png"),
        break_file(folders / "val" / "dog" / "0.png"),
        folders / "train" / "dog" / "page.jpg",
    ]
    broken[2].write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="3 of 7 images cannot be read") as error:
        checked(folders)
    for path in broken:
        assert f"{path}: " in str(error.value)
    assert "--skip-broken" in str(error.value)


def test_a_long_list_of_broken_images_is_cut(folders):
    for i in range(25):
        (folders / "train" / "cat" / f"x{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)25 of 31 images.*and 5 more") as error:
        checked(folders)
    assert str(error.value).count(".png: ") == 20


def test_broken_images_are_left_out_and_listed_where_that_is_asked(folders):
    broken = break_file(folders / "train" / "cat" / "1.png")
    files, notes = checked(folders, skip_broken=True)
    assert [path.name for path in files["train"]["cat"]] == ["0.png"]
    assert len(files["train"]["dog"]) == 2
    assert "1 broken image(s) are left out" in notes and str(broken) in notes


def test_a_class_is_never_left_out(folders):
    break_file(folders / "val" / "cat" / "0.png")
    with pytest.raises(ValueError, match="No image of the class cat in validation"):
        checked(folders, skip_broken=True)


def test_plain_photographs_need_no_note(folders):
    assert checked(folders)[1] == ""


def test_a_symbolic_link_to_nothing_is_broken(folders):
    (folders / "train" / "cat" / "2.png").symlink_to(folders / "gone.png")
    with pytest.raises(ValueError, match="2.png: it cannot be opened: No such file"):
        checked(folders)


def test_what_is_converted_is_said_once(folders):
    cat, exif = folders / "train" / "cat", Image.Exif()
    exif[0x0112] = 6
    clear = photograph(4)
    clear[0, 0, 3] = 0
    for i in range(2):
        write(cat / f"clear{i}.png", clear)
        write(cat / f"deep{i}.png", np.full((20, 24), 40000, np.uint16))
    write(cat / "turned.jpg", exif=exif)
    write(cat / "turned.tif", exif=exif)
    frames = [Image.fromarray(photograph(1)) for _ in range(2)]
    frames[0].save(cat / "moving.gif", save_all=True, append_images=frames[1:])
    _, notes = checked(folders)
    assert notes.splitlines() == [
        "2 image(s) have transparent pixels: shown on white.",
        "2 image(s) have 16 bits: scaled to 8.",
        "2 image(s) have an EXIF orientation, which is ignored: pixels are read as "
        "stored. PIL.ImageOps.exif_transpose turns them.",
        "1 image(s) have several frames: the first is read.",
    ]


def test_opaque_images_with_an_alpha_channel_need_no_note(folders):
    opaque = photograph(4)
    opaque[..., 3] = 255
    write(folders / "train" / "cat" / "opaque.png", opaque)
    assert checked(folders)[1] == ""


def test_images_of_12_bits_are_noted(folders):
    deep = RNG.integers(0, 4096, (20, 24), np.uint16)
    deep[0, 0] = 4095
    write(folders / "train" / "cat" / "deep.png", deep)
    write(folders / "train" / "cat" / "bright.png", deep * 16)
    _, notes = checked(folders)
    assert notes.splitlines() == [
        "2 image(s) have 16 bits: scaled to 8.",
        "1 of them are dark: white is 255, and they end at 16 or below. If their "
        "numbers have 12 or 14 bits, scale them to 16 bits first.",
    ]


@pytest.mark.parametrize("num_channels", [2, 3, 4])
def test_colours_of_12_bits_are_noted(num_channels, folders):
    deep = np.full((20, 24, num_channels), 4095, np.uint16)
    if num_channels != 3:
        deep[..., -1] = 65535  # opaque
    data = png_of_16_bits(deep)
    (folders / "train" / "cat" / "deep.png").write_bytes(data)
    _, notes = checked(folders)
    assert "1 image(s) have 16 bits" in notes
    assert "1 of them are dark: white is 255, and they end at 15 or below" in notes


def test_transparency_that_no_pixel_has_needs_no_note(folders):
    deep = Image.fromarray(np.full((20, 24), 40000, np.uint16))
    deep.save(folders / "train" / "cat" / "deep.png", transparency=5)
    assert checked(folders)[1] == "1 image(s) have 16 bits: scaled to 8."


def test_an_image_that_cannot_be_scaled_is_named(folders):
    path = write(folders / "val" / "cat" / "f.tif", np.full((9, 9), 80, np.float32))
    with pytest.raises(ValueError, match="floats from 80 to 80") as error:
        checked(folders)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_failure_while_writing_leaves_no_folder(error, folders, monkeypatch):
    pytest.importorskip("tensorflow_datasets")

    def fail(*_):
        raise error("disk full")

    monkeypatch.setattr(tfds_folder, "_write_files", fail)
    (folders / "there").mkdir()
    for out in (folders / "new" / "deep", folders / "there"):
        with pytest.raises((error, ValueError), match="disk full"):
            prepare_folders(folders, out, log=lambda note: None)
    assert not (folders / "new").exists()
    assert list((folders / "there").iterdir()) == []


def test_prepared_folders_are_read_with_the_right_pixels(tmp_path, capsys):
    pytest.importorskip("tensorflow_datasets")
    from egnas_jax.cli.main import main
    from egnas_jax.data.examples import open_imagenet

    for split, count in (("train", 3), ("val", 1)):
        for label, grey in enumerate((10, 200)):
            for i in range(count):
                image = np.full((20, 24), grey * 257, np.uint16)
                write(tmp_path / split / "ab"[label] / f"{i}.png", image)
    broken = tmp_path / "train" / "b" / "9.png"
    broken.write_bytes(b"")
    out = tmp_path / "tfds"
    command = ["data", "prepare", "--name", "imagenet", "--data-dir", str(tmp_path)]
    assert main([*command, "--out", str(out)]) == 2
    assert f"{broken}: it is empty" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--out", str(out), "--skip-broken"]) == 0
    said = capsys.readouterr().err
    assert str(broken) in said
    assert "  a: 3, 1\n  b: 3, 1\n" in said
    opened = open_imagenet(out)
    for index in range(6):
        image, label = opened.train.read(index)
        assert label == index // 3
        assert set(np.asarray(image).ravel()) == {(10, 200)[label]}
