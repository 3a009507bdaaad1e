"""Runs of a search in stages: directories, resumes, restores, and what they refuse."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.runs.finished_search import load_search
from egnas_jax.runs.search import run_search
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_resume import StartPoint
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.runs.stages import config_of_stage, describe_plan
from egnas_jax.search.search_run import Progress
from egnas_jax.storage import records

SETTINGS = tiny_search.OF_ANY_METHOD | {
    "epochs": 4,
    "strategy.batch_size": 32,
    "strategy.warmup": 0,
    "strategy.kept": "2,1",
    "strategy.added_layers": "0,1",
    "strategy.added_channels": "0,2",
    "strategy.skip_dropout": "0.1,0.4",
    "strategy.learning_rate": 0.1,
}
COMMAND = ["search", "--strategy", "p_darts", "--space", "tiny"]
# lists of a search of one stage
ONE = {"added_layers": "0", "added_channels": "0", "skip_dropout": "0.1"}


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


def config_of(**settings):
    changes = {f"strategy.{name}": value for name, value in settings.items()}
    epochs = {"epochs": changes.pop("strategy.epochs", 4)}
    return search_config(
        "digits", strategy="p_darts", space="tiny", settings=SETTINGS | changes | epochs
    )


def digests(folder):
    return [line["digest"] for line in records.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished search of two stages of two epochs."""
    return run_search(config_of(), out=tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.slow
def test_a_finished_run_has_the_supernet_of_its_last_stage(whole):
    assert [line["stage"] for line in whole.records] == [0, 0, 1, 1]
    loaded = load_search(whole.folder)
    assert loaded.genotype == whole.genotype and loaded.net == whole.net
    config = whole.net.config
    assert (config.layers, config.channels) == (2, 6)
    assert {len(edge) for kind in config.live for edge in kind} == {2}
    # a norm and no kernels: weights of the convolution on the edges that kept it alone
    with_convolution = sum(2 in edge for kind in config.live for edge in kind)
    assert 0 < with_convolution < 4


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resume_within_a_stage_or_between_two_ends_the_same(stop, whole, tmp_path):
    run = tmp_path / "run"
    part = run_search(config_of(), out=run, stop_after=stop)
    assert load_search(run).genotype == part.genotype
    resumed = run_search(config_of(), out=run, resume=True)
    assert digests(run) == digests(whole.folder)
    assert resumed.genotype == whole.genotype
    assert main(["verify", str(run), "--from-start"]) == 0
    assert main(["verify", str(run)]) == 0


@pytest.mark.slow
def test_a_run_killed_while_a_stage_begins_ends_the_same(whole, tmp_path, monkeypatch):
    """The programs of the second stage compile; nothing of it was written."""

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("egnas_jax.search.search_run.compiled", fail)
        with pytest.raises(KeyboardInterrupt):
            run_search(config_of(), out=run)
    assert len(digests(run)) == 2
    run_search(config_of(), out=run, resume=True)
    assert digests(run) == digests(whole.folder)


@pytest.mark.slow
def test_a_run_that_is_restored_must_be_in_the_same_stage(whole, tmp_path):
    between = tmp_path / "between"
    run_search(config_of(), out=between, stop_after=3)
    longer = config_of(epochs=6, stage_epochs="2,4")
    end = run_search(longer, restore=between, stop_after=4, out=tmp_path / "longer")
    assert [line["stage"] for line in end.records] == [0, 0, 1, 1]
    for changes, message in (
        ({"epochs": 8}, "holds stage 2, which began with epoch 3; that of this search"),
        ({"stage_epochs": "3,1"}, "holds stage 2, which began with epoch 3"),
        ({"kept": "1", **ONE}, "it holds stage 2, but this search has 1"),
    ):
        with pytest.raises(ValueError, match=message):
            run_search(config_of(**changes), restore=between, out=tmp_path / "new")
    first = tmp_path / "first"
    run_search(config_of(), out=first, stop_after=2)
    with pytest.raises(ValueError, match="in stage 1 after epoch 2, but .* epoch 1"):
        run_search(config_of(stage_epochs="1,3"), restore=first, out=tmp_path / "new")


@pytest.mark.slow
def test_commands_on_a_finished_run_work_or_say_why_not(whole, tmp_path, capsys):
    run = str(whole.folder)
    assert main(["derive", run]) == 0
    assert capsys.readouterr().out.strip() == whole.genotype.format()
    assert main(["noise", run]) == 2
    assert "whose last supernet lacks most primitives" in capsys.readouterr().err
    assert main(["report", run, "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "dropout behind skips" in page
    small = ["network.layers=2", "network.channels=4", "epochs=1"]
    options = [word for each in small for word in ("--set", each)]
    out = str(tmp_path / "retrained")
    assert main(["retrain", "--genotype", run, "--out", out, *options]) == 0


@pytest.mark.longest
def test_devices_share_a_search_in_stages(tmp_path):
    script = f"""
import tiny_search
from egnas_jax.runs.search import run_search
from egnas_jax.runs.search_config import search_config

with tiny_search.registered_space():
    config = search_config(
        "digits", strategy="p_darts", space="tiny", settings={SETTINGS | {"epochs": 2}}
    )
    run_search(config, out="whole")
    run_search(config, out="parts", stop_after=1)
    run_search(config, out="parts", resume=True)
"""
    tests = pathlib.Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join((str(tests), str(tests.parent))),
    }
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True
    )
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["devices"] == 2


@pytest.mark.parametrize(
    "settings, message",
    [
        (["epochs=1"], "The 2 stages of p_darts need one epoch each"),
        (["strategy.stage_epochs=3,3"], "need 6 epochs"),
        (["strategy.added_layers=0,-9"], "supernet.layers is -8, but must be"),
        (["strategy.added_layers=0"], "for 1 stages, but strategy.kept is '2,1'"),
        (["strategy.kept=3,1"], "must fall from below 3, the primitives of"),
        (["strategy.kept=2,2"], "must fall from below 3"),
        (["watch.eigenvalue=lanczos", "watch.stop=true"], "Set watch.stop=false"),
        (["strategy.population=4"], "Unknown path 'strategy.population'"),
        (["supernet.live=0"], "Unknown path 'supernet.live'"),
    ],
)
def test_unusable_stages_exit_with_2_before_anything_compiles(
    settings, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("egnas_jax.runs.search.compiled", None)
    changes = [word for each in settings for word in ("--set", each)]
    out = tmp_path / "run"
    words = tiny_search.words(SETTINGS)
    assert main([*COMMAND, *words, *changes, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_start_of_a_search_lists_its_stages():
    assert describe_plan(config_of()).splitlines() == [
        "Stage 1: epochs 1 to 2, 1 cell, 3 primitives on every edge, of which 2 stay.",
        "Stage 2: epochs 3 to 4, 2 cells, 2 primitives on every edge, of which 1 stay.",
    ]
    assert describe_plan(search_config("digits", strategy="darts")) == ""


def test_a_stage_with_other_numbers_of_primitives_is_refused():
    config = config_of()
    live = (((0, 1),) * 2, ((0, 2),) * 2)
    config_of_stage(config, {"index": 1, "live": live})
    with pytest.raises(ValueError, match="with 3 primitives .* keeps 2 there"):
        config_of_stage(config, {"index": 1, "live": (((0, 1, 2),) * 2, *live[1:])})


def test_a_start_between_two_stages_is_in_the_later_one():
    """As a profile asks, whose epochs must lie in one stage."""
    run = set_up_search(config_of()).run
    for epoch, expected in ((0, 0), (1, 0), (2, 1)):
        state = types.SimpleNamespace(epoch=epoch)
        start = StartPoint(Progress(state, {}, run.stage.as_json()))
        assert start.stage_of(run).index == expected
    assert StartPoint(None).stage_of(run) == run.stage
    assert StartPoint(None).stage_of(run._replace(stage=None, enter=None)) is None


def test_a_warm_up_as_long_as_a_stage_is_noted():
    notes = []
    set_up_search(config_of(warmup=1, epochs=3), log=notes.append)
    expected = "strategy.warmup is 1 and epochs of a stage 1: alpha will not move."
    assert notes == [expected]  # the stages have two epochs and one
    set_up_search(config_of(warmup=1), log=notes.append)
    assert len(notes) == 1


def test_a_stage_trains_from_its_own_first_epoch():
    setup = set_up_search(config_of())
    second = setup.run.enter(1, (((0, 1),) * 2,) * 2)
    assert (second.stage.first, second.stage.end, second.epochs) == (2, 4, 4)
    numbers = second.hyperparams
    assert (int(numbers.first_epoch), int(numbers.epochs)) == (2, 2)
    assert second.problem.net.config.live == (((0, 1),) * 2,) * 2
    assert setup.run.identity != second.identity
