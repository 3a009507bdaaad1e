"""Ended runs go from one folder to another as one file."""

import dataclasses
import json

import pytest

EPOCHS = 5  # of the runs that stand in


@pytest.fixture
def carry(load, stand_in):
    """Carries searches of two seeds in a folder; returns their jobs and the calls."""
    pieces, methods = load("pieces"), load("methods")

    def carry(out, ended, num_pixels=8, ends=lambda call: True):
        fake = stand_in(lambda call: {"epochs": EPOCHS if ends(call) else 1})
        method = methods.Method(settings={"epochs": EPOCHS})
        method = method.with_settings({"data.path": str(out / f"{num_pixels}.npz")})
        jobs = [method.job(out / f"run-{seed}", seed, None) for seed in (0, 1)]
        options = pieces.begin(options_of(ended, out))
        pieces.carry(jobs, options)
        return jobs, fake.calls

    return carry


def options_of(ended, out):
    """Options of a piece without an end."""

    @dataclasses.dataclass
    class Options:
        ended: object
        out: object
        minutes: float | None = None
        epochs_now: int | None = None

    return Options(ended, out)


def test_runs_that_ended_elsewhere_are_not_repeated(carry, load, tmp_path):
    """Their images are in another folder too."""
    file = tmp_path / "ended.json"
    first, calls = carry(tmp_path / 'hére "quoted"', file)
    assert len(calls) == 2
    assert "quoted" not in file.read_text()
    second, calls = carry(tmp_path / 'thére "too"', file)
    assert not calls
    summaries = [load("pieces").summary_of(job) for job in (*first, *second)]
    assert summaries[0] and summaries[0] == summaries[2]
    metrics = [(job.folder / "metrics.jsonl").read_text() for job in (*first, *second)]
    assert metrics[0] == metrics[2]


def test_a_run_that_has_not_ended_is_carried_on(carry, tmp_path):
    file = tmp_path / "ended.json"
    carry(tmp_path / "here", file, ends=lambda call: call.config.seed == 0)
    assert list(json.loads(file.read_text())) == ["run-0"]
    _, calls = carry(tmp_path / "there", file)
    assert [call.config.seed for call in calls] == [1]
    assert list(json.loads(file.read_text())) == ["run-0", "run-1"]


def test_runs_that_ended_before_the_file_was_named_are_in_it(carry, tmp_path):
    carry(tmp_path / "here", None)
    file = tmp_path / "ended.json"
    _, calls = carry(tmp_path / "here", file)
    assert not calls
    assert list(json.loads(file.read_text())) == ["run-0", "run-1"]


def test_a_file_in_no_folder_is_refused_before_anything_runs(carry, tmp_path):
    with pytest.raises(ValueError, match="its folder does not exist"):
        carry(tmp_path / "here", tmp_path / "typo" / "ended.json")
    assert not (tmp_path / "here").exists()


def test_runs_of_other_settings_are_refused(carry, tmp_path):
    file = tmp_path / "ended.json"
    carry(tmp_path / "here", file)
    with pytest.raises(SystemExit, match="other settings"):
        carry(tmp_path / "there", file, num_pixels=16)


def test_runs_do_not_join_a_file_of_other_settings(carry, tmp_path):
    file = tmp_path / "ended.json"
    carry(tmp_path / "here", file)
    carry(tmp_path / "there", None, num_pixels=16)
    before = file.read_text()
    with pytest.raises(SystemExit, match="run-0 of other settings. Name another"):
        carry(tmp_path / "there", file, num_pixels=16)
    assert file.read_text() == before


@pytest.mark.parametrize(
    "text",
    ['{"../run": {}}', '{"run": {"../summary.json": ""}}', '{"run": {"a": 1}}', "[]"],
)
def test_another_file_is_refused(text, load, tmp_path):
    file = tmp_path / "ended.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="Name a file that --ended has written"):
        load("ended_runs").take(file, tmp_path / "there")
    assert not (tmp_path / "there").exists()
