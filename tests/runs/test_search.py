"""A search from Python: with and without a directory, resumed, loaded, refused."""

import dataclasses

import chex
import numpy as np
import pytest
import tiny_search

import egnas_jax as eg
from egnas_jax.runs.finished_search import valid_batches
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.training.interrupt import Interrupted

SETTINGS = {**tiny_search.SETTINGS, "epochs": 3}


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


@pytest.fixture(scope="module")
def config(space):
    return eg.search_config("digits", space=tiny_search.SPACE.name, settings=SETTINGS)


@pytest.fixture(scope="module")
def searched(config, tmp_path_factory):
    """A search in a directory, and the records that its callback got."""
    records = []
    out = tmp_path_factory.mktemp("search") / "run"
    return eg.run_search(config, out=out, on_epoch=records.append), records


def digests(result):
    return [record["digest"] for record in result.records]


def everything_below(*folders):
    return sorted(path for folder in folders for path in folder.rglob("*"))


def test_a_search_returns_what_its_directory_holds(searched):
    result, records = searched
    assert result.records == records and len(records) == 3
    assert result.valid_accuracy == records[-1]["valid_accuracy"]
    loaded = eg.load_search(result.folder)
    assert loaded.genotype == result.genotype
    assert loaded.records == result.records
    assert loaded.config == result.config and loaded.num_valid == result.num_valid
    chex.assert_trees_all_equal(loaded.state, result.state)
    assert loaded.alpha.keys() == {"normal", "reduce"}
    assert loaded.summary == result.summary


def test_a_search_without_a_directory_writes_nothing_and_is_the_same(
    config, searched, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = everything_below(tmp_path)
    result = eg.run_search(config)
    assert everything_below(tmp_path) == before
    assert digests(result) == digests(searched[0])
    assert result.folder is None and result.genotype == searched[0].genotype


def test_a_stopped_search_resumes_to_the_same_digests(config, searched, tmp_path):
    out = tmp_path / "run"
    stopped = eg.run_search(config, out=out, stop_after=1)
    assert len(stopped.records) == 1
    resumed = eg.run_search(config, out=out, resume=True)
    assert digests(resumed) == digests(searched[0])


def test_a_callback_that_interrupts_leaves_a_checkpoint(config, searched, tmp_path):
    def interrupt(record):
        raise Interrupted("enough")

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        eg.run_search(config, out=out, on_epoch=interrupt)
    resumed = eg.run_search(config, out=out, resume=True)
    assert digests(resumed) == digests(searched[0])


def test_a_callback_follows_the_weight_steps_of_each_epoch(config):
    seen = []
    eg.run_search(config, stop_after=2, on_steps=lambda *steps: seen.append(steps))
    assert seen == [(2, 5), (4, 5), (5, 5)] * 2


@pytest.mark.slow
def test_arrays_are_searched_and_their_run_is_loaded_without_them(config, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (600, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(600) % 3
    short = dataclasses.replace(config, epochs=1)
    result = eg.run_search(short, data=(images, labels), out=tmp_path / "run")
    assert result.config.supernet.num_classes == 3
    loaded = eg.load_search(tmp_path / "run")
    chex.assert_trees_all_equal(loaded.variables, result.variables)
    with pytest.raises(ValueError, match="not those that data.digest names"):
        valid_batches(loaded, 1, 10, seed=0)  # they would be the preset's digits
    other = eg.run_search(short, data=(images[::-1], labels), stop_after=1)
    assert digests(other) != digests(result)
    with pytest.raises(ValueError, match="not those that data.digest names"):
        eg.run_search(
            result.config,
            data=(images[::-1], labels),
            out=tmp_path / "run",
            resume=True,
        )


def test_validation_batches_of_a_run_are_disjoint(searched):
    images, labels = valid_batches(searched[0], 3, 20, seed=1)
    assert images.shape == (3, 20, 8, 8, 1) and labels.shape == (3, 20)
    assert len(np.unique(np.asarray(images).reshape(60, -1), axis=0)) == 60


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resume": True}, "resume needs a run directory"),
        ({"stop_after": 0}, "stop_after is 0"),
        ({"stop_after": 2.5}, "stop_after is 2.5, but must be a whole number from 1"),
        ({"stop_after": True}, "stop_after is True"),
        ({"data": (1,)}, "data holds 1 entries"),
        ({"data": (1, 2), "data_dir": "."}, "data and data_dir were given"),
        ({"data_dir": "/no/such"}, "/no/such"),
    ],
)
def test_unusable_arguments_are_refused_and_nothing_is_written(
    options, message, config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        eg.run_search(config, **options)
    assert not everything_below(tmp_path)


def test_a_lowering_that_the_backend_cannot_run_is_refused_at_once(tmp_path):
    config = eg.search_config("digits", settings={"supernet.lowering": "fused"})
    with pytest.raises(ValueError, match="is fused, but the backend is cpu"):
        eg.run_search(config, out=tmp_path / "run")
    assert not everything_below(tmp_path)


def test_a_search_is_watched_if_its_method_has_an_alpha():
    for strategy, refused in (("darts", False), ("nsga2", True)):
        settings = {"watch.eigenvalue": "lanczos"}
        config = eg.search_config("digits", strategy=strategy, settings=settings)
        if refused:
            with pytest.raises(ValueError, match="alpha"):
                set_up_search(config)
        else:
            assert set_up_search(config).run.problem.watch.eigenvalue == "lanczos"


def test_a_search_after_the_last_weight_step_is_not_put_before_it(tmp_path):
    settings = {"schedule.order": "strategy_first"}
    config = eg.search_config("digits", strategy="nsga2", settings=settings)
    with pytest.raises(ValueError, match="two_phase.*schedule.order=weights_first"):
        eg.run_search(config, out=tmp_path / "run")
    assert not everything_below(tmp_path)
    settings["strategy.mode"] = "interleaved"
    set_up_search(eg.search_config("digits", strategy="nsga2", settings=settings))


@pytest.mark.parametrize("strategy", ["nsga2", "ageing_evolution", "epcnas_pso"])
def test_finalists_are_cells_that_were_evaluated(strategy):
    settings = {"strategy.finalists": 500}
    with pytest.raises(ValueError, match="strategy.finalists is 500, but a search"):
        eg.search_config("digits", strategy=strategy, settings=settings)


def test_settings_have_the_checks_of_the_command_line():
    for settings, message in (
        ({"epoch": 3}, "Did you mean epochs"),
        ({"epochs": 2.5}, "epochs takes a whole number"),
        ({"strategy.order": "weights_first"}, "Did you mean .*schedule.order"),
        ({"schedule.order": "both"}, "schedule.order is 'both'"),
    ):
        with pytest.raises(ValueError, match=message):
            eg.search_config("digits", settings=settings)
    by_text = eg.search_config(settings={"epochs": "3", "supernet.pool_bn": "true"})
    assert by_text == eg.search_config(settings={"epochs": 3, "supernet.pool_bn": True})
