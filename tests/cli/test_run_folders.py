"""Default directories of runs: no two jobs take the same."""

import argparse
import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from egnas_jax.cli.main import main
from egnas_jax.cli.run_folders import default_folder, run_folders

JOBS = 8


def options_of(**changes):
    fields = {"out": None, "preset": "digits", "seeds": 1, "resume": False}
    return argparse.Namespace(**fields | changes)


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_jobs_that_race_get_directories_of_their_own():
    def take(job):
        context = run_folders(options_of(), [0])
        return context, context.__enter__()

    with ThreadPoolExecutor(JOBS) as pool:
        taken = list(pool.map(take, range(JOBS)))
    names = {folder.name for _, (folder,) in taken}
    more = {f"digits-seed0-{number}" for number in range(2, JOBS + 1)}
    assert names == {"digits-seed0"} | more
    assert all(folder.is_dir() for _, (folder,) in taken)
    for context, _ in taken:
        context.__exit__(None, None, None)


def test_a_directory_that_stays_empty_is_removed():
    with run_folders(options_of(seeds=2), [3, 4]) as (first, second):
        assert [first.name, second.name] == ["digits-seed3", "digits-seed4"]
        (first / "config.json").touch()
    assert first.exists() and not second.exists()
    pathlib.Path("other").mkdir()
    with pytest.raises(RuntimeError), run_folders(options_of(), [9]):
        raise RuntimeError
    assert list(pathlib.Path("runs").iterdir()) == [first]


def test_nothing_is_left_where_no_run_begins():
    with default_folder(options_of(), "digits-retrain") as folder:
        assert folder == pathlib.Path("runs/digits-retrain")
    assert list(pathlib.Path().iterdir()) == []


def test_a_named_or_resumed_directory_is_taken_as_it_is():
    with run_folders(options_of(out="a", seeds=2), [0, 1]) as folders:
        assert folders == [pathlib.Path("a/seed0"), pathlib.Path("a/seed1")]
    pathlib.Path("runs/digits-seed0").mkdir(parents=True)
    with run_folders(options_of(resume=True), [0]) as folders:
        assert folders == [pathlib.Path("runs/digits-seed0")]
    assert pathlib.Path("runs/digits-seed0").exists()


def test_a_place_that_is_no_directory_is_refused(capsys):
    pathlib.Path("runs").touch()
    assert main(["search"]) == 2
    assert "runs cannot be written" in capsys.readouterr().err
