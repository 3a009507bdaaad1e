"""The jobs of the campaign: order of worth, needs, and that every task exists."""

import inspect

import pytest

from benchmarks.gpu import jobs, tasks
from benchmarks.gpu.sizes import full_size
from egnas_jax.runs.search_config import search_config


def test_stages_come_in_order_of_worth_with_limits_of_one_to_two_minutes():
    order = list(dict.fromkeys(job.stage.name for job in jobs.jobs_of(full_size())))
    assert order == list(jobs.STAGES)
    assert order[:2] == ["parity", "speed"] and order[-2:] == ["search", "table2"]
    lowering = order.index("lowering")  # decides TABLE, and compiles in seconds
    assert order.index("parity") < lowering < order.index("float32")
    assert all(60.0 <= stage.limit_s <= 120.0 for stage in jobs.STAGES.values())


def test_names_of_jobs_differ_and_name_their_stage():
    listed = jobs.jobs_of(full_size())
    assert len({job.name for job in listed}) == len(listed)
    assert all(job.name.startswith(f"{job.stage.name}: ") for job in listed)


def test_every_task_takes_the_options_of_its_jobs():
    for job in jobs.jobs_of(full_size()):
        inspect.signature(tasks.task_named(job.task)).bind(None, **job.options)


def test_bfloat16_comes_before_float32_and_both_kinds_of_float32_are_measured():
    names = [job.name for job in jobs.jobs_of(full_size())]
    rows = [
        names.index(f"{stage}: weight-step, {precision}")
        for stage, precision in (
            ("speed", "bfloat16"),
            ("float32", "float32"),
            ("float32", "default"),
        )
    ]
    assert rows == sorted(rows)


def test_what_is_missing_leaves_its_jobs_out():
    def stages(**there):
        chosen = jobs.open_jobs(full_size(), stages=[], **there)
        return {job.stage.name for job in chosen}

    assert stages(torch=True, data=True) == set(jobs.STAGES)
    assert set(jobs.STAGES) - stages(torch=False, data=True) == {"torch"}
    assert set(jobs.STAGES) - stages(torch=True, data=False) == {"search", "table2"}


def test_a_chosen_stage_is_alone():
    chosen = jobs.open_jobs(full_size(), stages=["epoch"], torch=True, data=True)
    assert [job.name for job in chosen] == ["epoch: an epoch"]


def test_programs_of_whole_networks_may_compile_as_long_as_a_call():
    slow = [job.name for job in jobs.jobs_of(full_size()) if job.is_slow]
    assert len(slow) == 5 + 5 + 4 + 1 + 2 + 1
    words = (
        "weight-step",
        "retraining-step",
        "train-of-",
        "an epoch",
        "search: ",
        "table2: ",
    )
    assert all(any(word in name for word in words) for name in slow)
    assert not any(name.startswith("parity: ") for name in slow)


def test_autotuning_and_determinism_are_measured_apart():
    listed = [job for job in jobs.jobs_of(full_size()) if job.task != "limits"]
    flags = {
        stage: {job.flags for job in listed if job.stage.name == stage}
        for stage in ("speed", "autotuning", "deterministic")
    }
    assert flags["speed"] == {jobs.PLAIN}
    assert flags["autotuning"] == {jobs.AUTOTUNED}
    assert flags["deterministic"] == {jobs.PLAIN, jobs.DETERMINISTIC}


def test_stages_whose_programs_a_command_would_autotune_say_that_they_do_not():
    for name in ("epoch", "search", "table2"):
        stage = jobs.STAGES[name]
        assert stage.purpose.endswith("without autotuning")
        of_stage = [job for job in jobs.jobs_of(full_size()) if job.stage == stage]
        assert {job.flags for job in of_stage} == {jobs.PLAIN}


def test_the_limits_of_a_card_are_those_that_autotuning_finds():
    [limits] = [job for job in jobs.jobs_of(full_size()) if job.task == "limits"]
    assert limits.flags == jobs.AUTOTUNED
    assert not limits.is_patient


def test_only_rows_that_autotune_wait_until_all_others_are_over():
    listed = [job for job in jobs.jobs_of(full_size()) if job.task != "limits"]
    patient = {job.stage.name for job in listed if job.is_patient}
    autotunes = {job.stage.name for job in listed if job.autotunes}
    assert patient == autotunes == {"autotuning"}


@pytest.mark.parametrize("variant", jobs.VARIANTS)
def test_whole_searches_are_those_of_the_report_in_bfloat16(variant):
    size = full_size()
    config = search_config(size.searches[0], variant=variant, settings=size.searches[1])
    assert (config.data.name, config.epochs, config.batch_size) == ("cifar10", 50, 256)
    assert config.supernet.dtype == "bfloat16"
    preset, settings = size.resumed
    assert search_config(preset, variant=variant, settings=settings).epochs >= 2
