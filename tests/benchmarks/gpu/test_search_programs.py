"""The programs of searches are compiled beforehand, and loaded by the searches."""

import io
import json

import pytest

from benchmarks.gpu import executables, jobs, search_programs, search_tasks
from benchmarks.gpu.child import Context, Settings
from benchmarks.gpu.sizes import tiny_size
from egnas_jax.data.config import DataConfig
from egnas_jax.data.source import load_dataset
from egnas_jax.training import program_cache

TASKS = {
    "search: paper": (search_tasks.carry_search, {"variant": "paper"}),
    "epoch: an epoch": (search_tasks.measure_epoch, {"precision": "bfloat16"}),
}


def test_an_epoch_compiles_the_programs_that_are_carried():
    requests = search_programs.of_epoch(tiny_size(), "bfloat16")
    assert set(requests) == set(search_programs.NAMES)


def test_blank_files_stand_for_cifar10(tmp_path):
    """Shapes are those of a search on the card, so the compiled programs fit."""
    search_programs.write_blank_cifar10(tmp_path)
    data = load_dataset(DataConfig(name="cifar10"), tmp_path)
    assert data.images.shape == (50_000, 32, 32, 3) and data.num_classes == 10


@pytest.mark.longest
@pytest.mark.usefixtures("readers_options")  # with the flags below, for this test alone
@pytest.mark.parametrize("name", TASKS)
def test_a_search_loads_what_was_compiled_beforehand(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # the command changes it
    monkeypatch.setattr(program_cache, "_REMEMBERED", {})
    folder = tmp_path / "programs"
    assert executables.main(["--out", str(folder), "--size", "tiny", name]) == 0
    assert len(list(folder.iterdir())) == 3

    def lower(request):
        raise AssertionError("a program was compiled again")

    for function in ("_lower", "_plain"):
        monkeypatch.setattr(program_cache, function, lower)
    grant = io.StringIO('{"beside": 0, "halted": 0}\n')
    settings = Settings(tmp_path, None, folder, "cpu")
    answers = io.StringIO()
    context = Context(settings, answers, grant, jobs.PLAIN)
    task, options = TASKS[name]
    task(context, "tiny", **options)
    result = json.loads(answers.getvalue().splitlines()[-1])["result"]
    assert result.get("epochs", 2) == 2 and result["seconds"] > 0.0
    assert result.get("beforehand", 3) == 3
