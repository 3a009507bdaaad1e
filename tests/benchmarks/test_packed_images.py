"""CIFAR-10 travels in pieces without loss."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import images, packed_images
from benchmarks.packed_images import Piece
from egnas_jax.data.files.layouts import LAYOUTS
from egnas_jax.data.files.official import read_official

# the official layout with two training files of two images and one test file of one
LAYOUT = LAYOUTS["cifar10"][0]._replace(
    train=("a.bin", "b.bin"), test=("t.bin",), train_records=2, test_records=1
)


@pytest.fixture(scope="module")
def data():
    pixels, labels = images.synthetic(5, 32)
    return pixels, labels.astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 5, 4, 3), (2, 32, 32, 3)])
def test_decoding_restores_every_value(shape):
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    packed = packed_images.encode(pixels)
    np.testing.assert_array_equal(packed_images.decode(packed, shape), pixels)


def test_the_predictor_equals_a_count_by_hand():
    """Below both edges, above both, and a plane between them: 7 + 9 - 8."""
    left, up, corner = (
        np.array(row, np.uint8) for row in ([7, 7, 7], [9, 9, 9], [10, 5, 8])
    )
    guessed = packed_images.expected(left, up, corner)
    assert guessed.tolist() == [7, 9, 8]


def test_smooth_images_become_small():
    ramp = np.add.outer(np.arange(32), np.arange(32))[None, :, :, None]
    pixels = np.broadcast_to(ramp, (50, 32, 32, 3)).astype(np.uint8)
    assert len(packed_images.encode(pixels)) < pixels.size / 7


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_pieces_in_any_order_become_the_official_files(order, data, tmp_path):
    pixels, labels = data
    pieces = packed_images.cut(pixels, labels, 2)
    paths = [tmp_path / f"piece{i}.npz" for i in range(2)]
    for path, piece in zip(paths, pieces, strict=True):
        packed_images.write_piece(path, piece)
    out = tmp_path / "out"
    assert not packed_images.unpack([paths[order[0]]], out, LAYOUT)
    assert packed_images.unpack([paths[order[1]]], out, LAYOUT)
    train, test = read_official(out / LAYOUT.folder, LAYOUT)
    np.testing.assert_array_equal(np.concatenate([train.images, test.images]), pixels)
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)


def test_files_are_unpacked_once_all_have_their_length(data, tmp_path, monkeypatch):
    assert not packed_images.is_unpacked(tmp_path, LAYOUT)
    (tmp_path / LAYOUT.folder).mkdir()
    assert not packed_images.is_unpacked(tmp_path, LAYOUT)
    path = tmp_path / "piece.npz"
    packed_images.write_piece(path, packed_images.cut(*data, 1)[0])
    written = []

    def is_killed(path, content):
        path.write_bytes(content)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(packed_images.records, "write_bytes", is_killed)
        packed_images.unpack([path], tmp_path, LAYOUT)
    assert not packed_images.is_unpacked(tmp_path, LAYOUT)
    assert packed_images.unpack([path], tmp_path, LAYOUT)
    assert packed_images.is_unpacked(tmp_path, LAYOUT)
    file = tmp_path / LAYOUT.folder / "t.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert not packed_images.is_unpacked(tmp_path, LAYOUT)


def test_pieces_of_different_data_sets_are_refused(data, tmp_path):
    """Their positions match; the second set has the classes in another order."""
    pixels, labels = data
    paths = [tmp_path / f"piece{i}.npz" for i in range(2)]
    for number, (path, set_labels) in enumerate(
        zip(paths, (labels, labels[::-1]), strict=True)
    ):
        piece = packed_images.cut(pixels, set_labels, 2)[number]
        packed_images.write_piece(path, piece)
    with pytest.raises(ValueError, match="are of different data sets: 5 images"):
        packed_images.unpack(paths, tmp_path, LAYOUT)
    assert not (tmp_path / LAYOUT.folder).exists()


def test_pieces_of_a_data_set_of_another_length_are_refused(data, tmp_path):
    path = tmp_path / "piece.npz"
    packed_images.write_piece(path, packed_images.cut(*data, 1)[0])
    longer = LAYOUT._replace(train_records=3)
    with pytest.raises(ValueError, match="a data set of 5 images, and .* has 7"):
        packed_images.unpack([path], tmp_path, longer)


def test_a_changed_pixel_is_noticed(data, tmp_path):
    pixels, labels = data
    path = tmp_path / "piece.npz"
    piece = Piece(pixels, labels, 0, 5)
    packed_images.write_piece(path, piece)
    assert packed_images.digest(packed_images.read_piece(path)) == (
        packed_images.digest(piece)
    )
    with np.load(path) as file:
        arrays = dict(file)
    changed = pixels.copy()
    changed[3, 7, 7, 1] ^= 1
    arrays["packed"] = np.frombuffer(packed_images.encode(changed), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="those that were packed had.*Copy it again"):
        packed_images.read_piece(path)


def test_a_cut_file_is_named(data, tmp_path, capsys):
    path = tmp_path / "piece.npz"
    packed_images.write_piece(path, Piece(*data, 0, 5))
    path.write_bytes(path.read_bytes()[:1000])
    out = str(tmp_path / "out")
    assert packed_images.main(["unpack", str(path), "--out", out]) == 2
    assert "piece.npz is not a whole piece" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spans, complete",
    [
        (((0, 2), (2, 5)), True),
        (((0, 5),), True),
        ((), False),
        (((0, 2),), False),
        (((2, 5),), False),
        (((0, 2), (3, 5)), False),
        (((0, 3), (2, 5)), False),
    ],
)
def test_a_data_set_is_complete_with_every_image_once(spans, complete, data):
    pixels, labels = data
    pieces = [Piece(pixels[a:b], labels[a:b], a, 5) for a, b in spans]
    assert packed_images.is_complete(pieces) == complete


def test_a_data_set_is_packed_into_three_pieces(data, tmp_path, monkeypatch):
    """Two of CIFAR-10's would not fit a call that carries 64 MiB with a checkout."""
    pixels, labels = data
    loaded = SimpleNamespace(
        images=pixels[:4],
        labels=labels[:4],
        test_images=pixels[4:],
        test_labels=labels[4:],
    )
    monkeypatch.setattr(packed_images, "load_dataset", lambda *arguments: loaded)
    assert packed_images.main(["pack", "--out", str(tmp_path)]) == 0
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"cifar10_{i}.npz" for i in range(3)]
    assert packed_images.is_complete([packed_images.read_piece(path) for path in paths])
