"""The benchmark's own archive, laid out as its package writes it."""

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

NAMES = [Topology.of_choices(c).format() for c in itertools.product((0, 3), repeat=6)]


def training(epochs, accuracies):
    """One training's record: accuracies by images, the last epoch's; worse before."""
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
    """What the archive holds of a cell: two seeds, whose mean counts."""
    results = {}
    for epochs in (12, 200):
        runs = {}
        for place, (key, dataset, images) in enumerate(COLUMNS.values()):
            if key == str(epochs):
                for seed, offset in ((777, -0.5), (888, 0.5)):
                    runs[dataset, seed] = training(
                        epochs,
                        {images: 40 + place + index / 10 + offset, "train": 99.0},
                    )
        results[str(epochs)] = {"arch_index": index, "all_results": runs}
    return results


def write(path, value):
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol=4), 1))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("NATS-tss-v1_0-3ffb9-simple")
    write(folder / "meta.pickle.pbz2", {"meta_archs": NAMES[:7]})
    for index in range(7):
        write(folder / f"{index:06d}.pickle.pbz2", cell(index))
    return folder


def test_accuracies_are_the_means_over_seeds_after_the_last_epoch(archive):
    arrays = read_archive(archive, report=print)
    assert [Topology.of_choices(c).format() for c in arrays["edge_ops"]] == NAMES[:7]
    for place, key in enumerate(COLUMNS):
        np.testing.assert_allclose(
            arrays[key], 40 + place + np.arange(7) / 10, rtol=1e-6
        )


def test_an_archive_without_all_cells_makes_no_table(archive, tmp_path, capsys):
    out = tmp_path / "table.npz"
    command = ["data", "prepare", "--name", "nasbench201", "--data-dir", str(archive)]
    assert main([*command, "--out", str(out)]) == 2
    assert "whole numbers [15625, 6], got uint8 [7, 6]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([*command, "--out", str(tmp_path / "table")]) == 2
    assert "must end in .npz" in capsys.readouterr().err


def test_a_whole_archive_makes_a_table_that_can_be_read(
    archive, tmp_path, monkeypatch, capsys
):
    names = [
        Topology.of_choices(c).format() for c in itertools.product(range(5), repeat=6)
    ]
    found = read_archive(archive, report=print)
    whole = {key: np.resize(values, 15625) for key, values in found.items()}
    whole["op_names"] = found["op_names"]
    whole["edge_ops"] = np.asarray([Topology.parse(n).choices for n in names], np.uint8)
    monkeypatch.setattr(archive_module, "read_archive", lambda *_: whole)
    out = tmp_path / "table.npz"
    command = ["data", "prepare", "--name", "nasbench201", "--data-dir", str(archive)]
    assert main([*command, "--out", str(out)]) == 0
    table = read_table(out, "imagenet16_120")
    np.testing.assert_allclose(
        table.test[:7], (45 + np.arange(7) / 10) / 100, rtol=1e-6
    )


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("meta.pickle.pbz2", {"archs": []}, "no list `meta_archs`"),
        ("000003.pickle.pbz2", {"12": {}}, "no accuracy on x-valid of cifar10-valid"),
        ("000003.pickle.pbz2", {"12": print}, "refuses to load builtins.print"),
        ("000003.pickle.pbz2", None, "does not exist; --data-dir must name"),
    ],
)
def test_what_is_no_archive_is_refused(archive, tmp_path, name, content, message):
    for path in archive.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        read_archive(tmp_path, report=print)
