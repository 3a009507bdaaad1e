"""The directory of a run belongs to one process."""

import json

import pytest

from egnas_jax.runs import directory
from egnas_jax.runs.search_config import search_config


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
