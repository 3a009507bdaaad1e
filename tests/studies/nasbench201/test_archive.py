"""Converting the benchmark's own archive, in the layout of the nats_bench package."""

import bz2
import collections
import itertools
import pickle

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.space import Topology
from egnas_jax.studies.nasbench201 import archive as archive_module
from egnas_jax.studies.nasbench201.archive import COLUMNS, read_archive
from egnas_jax.studies.nasbench201.read import read_table

PREPARE = "data prepare --name nasbench201 --data-dir"


def cell_texts(primitives):
    """Texts of all cells with these primitives."""
    choices = itertools.product(primitives, repeat=6)
    return [Topology.of_choices(each).format() for each in choices]


NAMES = cell_texts((0, 3))[:7]


def training(epochs, accuracies):
    """Record of one training, whose accuracies grow to these in the last epoch."""
    percent = {
        f"{images}@{epoch}": accuracy - (epochs - 1 - epoch)
        for images, accuracy in accuracies.items()
        for epoch in range(epochs)
    }
    return {
        "epochs": epochs,
        "eval_acc1es": percent,
        "net_state_dict": None,
        "train_times": collections.OrderedDict({0: 1.5}),
    }


def cell(index):
    """Results of a cell: trainings of two seeds half a percent from their mean."""
    results = {
        epochs: {"arch_index": index, "all_results": {}} for epochs in ("12", "200")
    }
    for place, (epochs, dataset, images) in enumerate(COLUMNS.values()):
        for seed, offset in ((777, -0.5), (888, 0.5)):
            accuracies = {images: 40 + place + index / 10 + offset, "train": 99.0}
            trainings = results[epochs]["all_results"]
            trainings[dataset, seed] = training(int(epochs), accuracies)
    return results


def write(path, value):
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol=4), 1))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of seven cells."""
    folder = tmp_path_factory.mktemp("NATS-tss-v1_0-3ffb9-simple")
    write(folder / "meta.pickle.pbz2", {"meta_archs": NAMES})
    for index in range(len(NAMES)):
        write(folder / f"{index:06d}.pickle.pbz2", cell(index))
    return folder


def test_accuracies_are_means_over_seeds_after_the_last_epoch(archive):
    arrays = read_archive(archive, log=print)
    assert [Topology.of_choices(c).format() for c in arrays["edge_ops"]] == NAMES
    for place, key in enumerate(COLUMNS):
        expected = 40 + place + np.arange(7) / 10
        np.testing.assert_allclose(arrays[key], expected, rtol=1e-6)


def test_an_incomplete_archive_makes_no_table(archive, tmp_path, capsys):
    command = [*PREPARE.split(), str(archive), "--out"]
    assert main([*command, str(tmp_path / "table.npz")]) == 2
    assert "whole numbers [15625, 6], got uint8 [7, 6]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*command, str(tmp_path / "table")]) == 2
    assert "must end in .npz" in capsys.readouterr().err


def test_a_complete_archive_makes_a_table_that_can_be_read(
    archive, tmp_path, monkeypatch
):
    arrays = read_archive(archive, log=print)
    complete = {key: np.resize(arrays[key], 15625) for key in COLUMNS}
    choices = [Topology.parse(text).choices for text in cell_texts(range(5))]
    complete["op_names"] = arrays["op_names"]
    complete["edge_ops"] = np.asarray(choices, np.uint8)
    monkeypatch.setattr(archive_module, "read_archive", lambda *_: complete)
    out = tmp_path / "table.npz"
    assert main([*PREPARE.split(), str(archive), "--out", str(out)]) == 0
    table = read_table(out, "imagenet16_120")
    expected = (45 + np.arange(7) / 10) / 100
    np.testing.assert_allclose(table.test[:7], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("meta.pickle.pbz2", {"archs": []}, "no list `meta_archs`"),
        ("000003.pickle.pbz2", {"12": {}}, "no accuracy on x-valid of cifar10-valid"),
        ("000003.pickle.pbz2", {"12": print}, "refuses to load builtins.print"),
        ("000003.pickle.pbz2", None, "does not exist; --data-dir must name"),
    ],
)
def test_an_invalid_archive_is_refused(archive, tmp_path, name, content, message):
    for path in archive.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        read_archive(tmp_path, log=print)
