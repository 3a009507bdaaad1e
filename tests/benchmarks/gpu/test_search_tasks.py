"""Whole searches as jobs of the campaign."""

import io
import json

import pytest

from benchmarks.gpu import search_tasks
from benchmarks.gpu.child import Context, Settings
from benchmarks.gpu.ends import UnfinishedError
from egnas_jax.storage import records
from egnas_jax.training.interrupt import Interrupted
from egnas_jax.training.program_cache import CompilePlan


@pytest.fixture
def context(tmp_path):
    settings = Settings(tmp_path, "data", None, "cpu")
    return Context(settings, io.StringIO(), io.StringIO('{"beside": 0}\n'), "")


def events(context):
    lines = context.answers.getvalue().splitlines()
    return [json.loads(line) for line in lines]


def line(epoch):
    return {
        "epoch": epoch,
        "valid_accuracy": 0.5 + epoch / 10,
        "seconds": 2.0,
        "genotype": "a cell",
    }


def search_of(epochs, *, interrupted):
    """Stands for `run_search`: compiles, then runs these epochs."""
    calls = []

    def run_search(config, *, out, on_epoch, monitor, **options):
        calls.append(options)
        out.mkdir(parents=True, exist_ok=True)
        with monitor.compiling(CompilePlan(("train",), frozenset(), None)) as report:
            report("train", "ready")
            assert monitor.context.beside is None  # the card is free meanwhile
        assert monitor.context.beside == 0
        for epoch in epochs:
            records.append(out / "metrics.jsonl", line(epoch))
            on_epoch(line(epoch))
        if interrupted:
            raise Interrupted("a checkpoint was written")

    return run_search, calls


def test_a_search_takes_the_card_when_its_programs_are_ready(context, monkeypatch):
    run_search, _ = search_of([0, 1], interrupted=False)
    monkeypatch.setattr(search_tasks, "run_search", run_search)
    search_tasks.carry_search(context, "full", "paper")
    ready, first, second, last = events(context)
    assert last == second
    assert ready["event"] == "ready"
    assert first["result"]["epochs"] == 1
    assert second["result"] == {
        "epochs": 2,
        "of": 50,
        "valid_accuracy": 0.6,
        "seconds": 4.0,
        "curve": [0.5, 0.6],
        "genotype": "a cell",
    }


def test_a_search_that_had_ended_before_says_its_result_again(context, monkeypatch):
    folder = context.settings.out / "searches" / "paper"
    folder.mkdir(parents=True)
    for epoch in range(2):
        records.append(folder / "metrics.jsonl", line(epoch))
    monkeypatch.setattr(search_tasks, "run_search", lambda config, **options: None)
    search_tasks.carry_search(context, "full", "paper")
    [said] = events(context)
    assert said["result"]["epochs"] == 2 and said["result"]["valid_accuracy"] == 0.6


def test_a_search_that_is_asked_to_end_says_how_far_it_came(context, monkeypatch):
    run_search, calls = search_of([0, 1, 2], interrupted=True)
    monkeypatch.setattr(search_tasks, "run_search", run_search)
    with pytest.raises(UnfinishedError, match="3 of 50 epochs are done"):
        search_tasks.carry_search(context, "full", "reproduction")
    assert calls == [{"data_dir": "data", "resume": True}]
    assert (context.settings.out / "searches" / "reproduction").is_dir()
