"""On which images `egnas retrain` trains a cell that a run has found."""

import json

import pytest

from egnas_jax.cli.main import main
from egnas_jax.runs.search_config import search_config
from egnas_jax.settings import as_dict
from egnas_jax.space import zoo


@pytest.fixture
def run_on(tmp_path):
    """Makes a run directory with a cell and a configuration."""

    def make(**data):
        config = as_dict(search_config("digits"))
        config["data"] |= data
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        text = zoo["DARTS_V2"].genotype.format()
        (folder / "genotype.json").write_text(json.dumps({"genotype": text}))
        return str(folder)

    return make


@pytest.mark.parametrize(
    "data, advice",
    [
        ({"path": "/images/mine.npz"}, "--set data.path=/images/mine.npz"),
        ({"name": "cifar10"}, "--preset cifar10"),
    ],
    ids=str,
)
def test_other_images_than_those_of_the_search_are_never_a_default(
    run_on, capsys, tmp_path, data, advice
):
    run, out = run_on(**data), tmp_path / "cell"
    for genotype in (run, f"{run}/genotype.json"):
        assert main(["retrain", "--genotype", genotype, "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert advice in said and "would be trained on digits" in said
        assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [("--preset", "digits"), ("--set", "data.path=/images/other.npz")],
    ids=str,
)
def test_images_that_are_named_are_meant(run_on, capsys, words):
    run = run_on(path="/images/mine.npz")
    assert main(["retrain", "--genotype", run, "--print-config", *words]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["path"] == (words[1].partition("=")[2] or None)


def test_a_cell_of_digits_is_trained_on_digits(run_on, capsys):
    assert main(["retrain", "--genotype", run_on(), "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["name"] == "digits"
