"""The zip files of a release hold networks that another machine can load."""

import hashlib
import zipfile

import jax
import numpy as np
import pytest
import tiny_search

import egnas_jax as eg

RETRAIN = {"epochs": 1, "batch_size": 256, "network.channels": 4, "network.layers": 2}


def words(settings):
    return [f"{path}={value}" for path, value in settings.items()]


@pytest.mark.longest
def test_what_is_unpacked_is_loaded_and_has_the_same_weights(load, tmp_path):
    assets = load("release_assets")
    made, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    settings = tiny_search.SETTINGS | {"epochs": 1}
    lines = assets.make_assets(made, words(settings), words(RETRAIN))
    assert (made / "SHA256SUMS").read_text().splitlines() == lines
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest
        with zipfile.ZipFile(made / name) as file:
            file.extractall(elsewhere)
            assert not any(p.endswith(assets.LEFT_OUT) for p in file.namelist())
    search = eg.load_search(elsewhere / "digits_supernet")
    network = eg.load_network(elsewhere / "digits_network")
    assert search.genotype == eg.read_genotype(made / "digits_network")
    jax.tree.map(
        np.testing.assert_array_equal,
        search.variables,
        eg.load_search(made / "digits_supernet").variables,
    )
    assert network.digest == eg.load_network(made / "digits_network").digest
    assert network.test_error_last <= 1
