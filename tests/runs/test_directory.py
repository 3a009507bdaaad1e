"""The directory of a run belongs to one process."""

import json

import pytest

from egnas_jax.runs import directory
from egnas_jax.runs.retrain_config import from_dict, retrain_config, with_genotype
from egnas_jax.runs.search_config import search_config
from egnas_jax.settings import as_dict


def test_a_run_that_was_written_meanwhile_is_not_overwritten(tmp_path):
    """Two processes find the directory free; the second one loads its data longer."""
    first, second = search_config(), search_config(settings={"seed": 1})
    directory.check_arguments(tmp_path, resume=False, stop_after=None)
    with directory.claim(first, tmp_path, resume=False):
        pass
    with (
        pytest.raises(ValueError, match="holds a run already"),
        directory.claim(second, tmp_path, resume=False),
    ):
        pass
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    with directory.claim(first, tmp_path, resume=True):
        pass


def test_the_directory_of_several_runs_names_them(tmp_path):
    for name in ("seed0", "seed1", "momentum=0.5/seed0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    message = "directory of several runs, .* Name one: .*momentum=0.5/seed0, .*seed1"
    with pytest.raises(ValueError, match=message):
        directory.stored_config(tmp_path)
    with pytest.raises(ValueError, match="directory of several runs"):
        directory.stored_config(tmp_path, from_dict)


def test_a_retraining_is_no_search(tmp_path):
    config = with_genotype(retrain_config(), "DARTS_V2")
    (tmp_path / "config.json").write_text(json.dumps(as_dict(config)))
    with pytest.raises(ValueError, match="is a retraining, and a search is needed"):
        directory.stored_config(tmp_path)
    assert directory.stored_config(tmp_path, from_dict) == config
