"""The command of the campaign; slow: a dry run of the whole campaign on a CPU."""

import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import images, packed_images
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import archive, jobs, machine, measuring, memory
from benchmarks.gpu.child import CACHE, Settings, settings_of
from benchmarks.gpu.memory import DONE, FAILED, LATE, STOPPED, WRONG, Memory
from benchmarks.gpu.sizes import full_size
from egnas_jax.data.files.layouts import LAYOUTS
from egnas_jax.storage import lock

SPEED = "speed: population-running, bfloat16"
[SPEED_JOB] = [job for job in jobs.jobs_of(full_size()) if job.name == SPEED]


def test_without_a_gpu_the_command_says_how_to_try_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert command.main(["--out", str(tmp_path)]) == 2
    assert "--size tiny --platform cpu" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "code, text, name",
    [
        (0, "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\n", "NVIDIA H100 80GB HBM3"),
        (0, "a warning\nGPU 0: A (B) (UUID: GPU-1)\nGPU 1: C (UUID: 2)\n", "A (B)"),
        (0, "No devices were found\n", None),
        (9, "NVIDIA-SMI has failed because it could not reach the driver\n", None),
        (9, "GPU 0: A (UUID: GPU-1)\n", None),
    ],
)
def test_only_a_line_of_a_gpu_names_a_card(code, text, name, monkeypatch):
    answer = subprocess.CompletedProcess([], code, text)
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(machine.subprocess, "run", lambda *a, **b: answer)
    assert machine.device_name("gpu") == name


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_a_time_that_is_none_is_refused(seconds, tmp_path):
    with pytest.raises(SystemExit) as stop:
        command.parse(["--out", str(tmp_path), "--seconds", seconds])
    assert stop.value.code == 2


@pytest.fixture
def card(monkeypatch):
    """A machine with a card, on which nothing is measured: jobs only become done."""
    measured = []

    def measure(options, folder, known, chosen):
        for job in memory.in_order(known, chosen):
            measured.append(job.name)
            known = memory.end(memory.begin(known, job.name), job.name, DONE, "", 1.0)
        memory.save(folder, known)
        return known

    monkeypatch.setattr(command, "device_name", lambda platform: "A Card 80GB")
    monkeypatch.setattr(command, "measure", measure)
    return measured


def test_a_call_measures_only_what_is_left(card, tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert command.main([*out, "--stage", "epoch"]) == 0
    assert command.main([*out, "--stage", "epoch", "--stage", "parity"]) == 0
    assert card.count("epoch: an epoch") == 1 and len(card) == 1 + 6
    assert command.main([*out, "--stage", "epoch", "--again"]) == 0
    assert card.count("epoch: an epoch") == 2
    assert (tmp_path / "a-card-80gb" / "results.json").exists()


def test_torch_and_searches_are_left_out_where_they_cannot_run(card, tmp_path):
    command.main(["--out", str(tmp_path), "--no-torch"])
    stages = {name.partition(":")[0] for name in card}
    assert stages == set(jobs.STAGES) - {"torch", "search", "table2"}
    command.main(["--out", str(tmp_path), "--no-torch", "--data-dir", str(tmp_path)])
    assert "search: paper" in card


def test_a_job_that_may_not_load_programs_is_not_told_where_they_are(
    tmp_path, monkeypatch
):
    environments = []
    monkeypatch.setattr(
        measuring,
        "Subprocess",
        lambda job, folder, env, guard: environments.append(env),
    )
    settings = Settings(tmp_path, None, tmp_path / "programs", "gpu")
    for loads in (True, False):
        measuring.start_job(settings, None, SPEED_JOB, loads)
    folders = [settings_of(env).executables for env in environments]
    assert folders == [tmp_path / "programs", None]


def test_a_job_that_autotunes_reads_the_cache_of_no_other_job(tmp_path, monkeypatch):
    caches = []
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.setattr(
        measuring,
        "Subprocess",
        lambda job, folder, env, guard: caches.append(env[CACHE]),
    )
    settings = Settings(tmp_path, None, None, "gpu")
    for job in (job for job in jobs.jobs_of(full_size()) if job.autotunes):
        measuring.start_job(settings, None, job, True)
    assert len(set(caches)) == len(caches) == 5  # the rows and the limits
    measuring.start_job(settings, None, SPEED_JOB, True)
    assert caches[-1] == str(tmp_path / "cache")
    assert all(cache.startswith(f"{caches[-1]}/") for cache in caches[:-1])


def test_pieces_of_cifar10_are_kept_until_all_are_there(card, tmp_path, monkeypatch):
    """A layout of three images in two pieces stands for CIFAR-10's."""
    layout = LAYOUTS["cifar10"][0]._replace(
        train=("a.bin",), test=("t.bin",), train_records=2, test_records=1
    )
    monkeypatch.setattr(machine, "LAYOUTS", {"cifar10": (layout,)})
    pixels, labels = images.synthetic(3, 32)
    paths = [str(tmp_path / f"{number}.npz") for number in range(2)]
    for path, piece in zip(paths, packed_images.cut(pixels, labels, 2), strict=True):
        packed_images.write_piece(path, piece)
    for path, has_searched in zip(paths, (False, True), strict=True):
        command.main(["--out", str(tmp_path / "out"), "--no-torch", "--pieces", path])
        assert ("search: paper" in card) == has_searched
    options = command.parse(["--out", str(tmp_path / "out")])
    assert machine.data_folder(options) == tmp_path / "out" / "data"


def test_the_list_names_purpose_limit_and_state_and_measures_nothing(
    card, tmp_path, capsys
):
    out = ["--out", str(tmp_path), "--no-torch"]
    command.main([*out, "--stage", "epoch"])
    capsys.readouterr()
    assert command.main([*out, "--list"]) == 0
    text = capsys.readouterr().out
    assert "epoch: an epoch of `egnas search`, without autotuning (60 s a call)" in text
    assert "  done     epoch: an epoch" in text and f"  left     {SPEED}" in text
    assert "  no data  search: paper" in text and "  no torch torch: AMP" in text
    assert len(card) == 1


def test_results_of_an_archive_are_gone_on_with_on_another_machine(card, tmp_path):
    command.main(["--out", str(tmp_path / "first"), "--stage", "epoch"])
    stem = tmp_path / "campaign.tar"
    archive.write(tmp_path / "first" / "a-card-80gb", stem)
    again = ["--out", str(tmp_path / "second"), "--resume-from", str(stem)]
    command.main([*again, "--stage", "epoch"])
    assert card == ["epoch: an epoch"]


def test_a_second_call_on_a_folder_is_refused_while_the_first_one_measures(
    card, tmp_path, capsys
):
    arguments = ["--out", str(tmp_path), "--stage", "epoch"]
    with lock.locked(tmp_path, print):
        assert command.main(arguments) == 2
        assert card == []
        assert "Another process is writing to" in capsys.readouterr().err
        assert command.main([*arguments, "--list"]) == 0
    assert command.main(arguments) == 0


def test_an_out_that_is_a_file_is_refused(card, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("")
    assert command.main(["--out", str(path), "--stage", "epoch"]) == 2
    assert str(path) in capsys.readouterr().err and card == []


def test_a_missing_data_dir_is_refused(card, tmp_path, capsys):
    missing = ["--data-dir", str(tmp_path / "none")]
    assert command.main(["--out", str(tmp_path), *missing]) == 2
    assert "there is no folder" in capsys.readouterr().err and card == []


def test_a_stage_without_its_data_says_how_to_get_them(card, tmp_path, capsys):
    assert command.main(["--out", str(tmp_path), "--stage", "search"]) == 2
    text = capsys.readouterr().err
    assert "left out: search: paper, search: reproduction. They need CIFAR-10" in text
    assert "No job of these stages can run here." in text
    both = ["--stage", "search", "--stage", "epoch"]
    assert command.main(["--out", str(tmp_path), *both]) == 0
    assert "name its --data-dir" in capsys.readouterr().err
    assert card == ["epoch: an epoch"]


def test_a_missing_archive_is_refused_before_anything_is_measured(
    card, tmp_path, capsys
):
    missing = ["--resume-from", str(tmp_path / "none.tar")]
    assert command.main(["--out", str(tmp_path), *missing]) == 2
    assert "Leave --resume-from out" in capsys.readouterr().err
    assert card == []


def test_reports_and_archives_that_fail_end_nothing(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measuring, "report", fail)
    monkeypatch.setattr(measuring.archive, "write", fail)
    known = Memory({}, "tiny", {"a": {"state": "done"}})
    measuring._save("tiny", tmp_path, known)
    measuring._archive(tmp_path / "campaign.tar", tmp_path)
    assert json.loads((tmp_path / memory.FILE).read_text())["jobs"] == known.jobs
    text = capsys.readouterr().err
    assert "report.md was not written: OSError" in text
    assert "campaign.tar was not written: OSError" in text


def test_results_lie_beside_the_archive_even_where_that_fails(
    tmp_path, monkeypatch, capsys
):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measuring.archive, "write", fail)
    folder, stem = tmp_path / "card", tmp_path / "out" / "campaign.tar"
    known = memory.begin(Memory({}, "tiny", {}), SPEED)
    measuring._save("tiny", folder, known)
    measuring._archive(stem, folder)
    assert memory.load(stem.parent, "tiny") == known
    report = (stem.parent / "report.md").read_text()
    assert report == (folder / "report.md").read_text() != ""


def test_interruptions_are_counted_and_interrupt_nothing():
    before = signal.getsignal(signal.SIGTERM)
    with measuring.counted_interruptions() as asked:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert asked == [signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "state, code", [(DONE, 0), (STOPPED, command.LEFT), (FAILED, 1), (WRONG, 1)]
)
def test_the_exit_code_says_whether_jobs_are_left_or_failed(
    state, code, card, tmp_path, monkeypatch
):
    def measure(options, folder, known, chosen):
        [job] = chosen
        known = memory.begin(known, job.name)
        return memory.end(known, job.name, state, "", 1.0)

    monkeypatch.setattr(command, "measure", measure)
    assert command.main(["--out", str(tmp_path), "--stage", "epoch"]) == code


def campaign(out, *options):
    arguments = ["--out", str(out), "--size", "tiny", "--platform", "cpu", *options]
    # no torch: the extra bench need not be installed
    words = [sys.executable, "-m", "benchmarks.gpu", *arguments, "--no-torch"]
    return subprocess.run(words, capture_output=True, text=True, env=os.environ)


@pytest.mark.longest
def test_a_dry_run_of_the_whole_campaign_in_two_calls(tmp_path):
    """The first call is cut short; the second one does the rest and nothing twice."""
    first = campaign(tmp_path, "--seconds", "60")
    assert first.returncode == command.LEFT, first.stderr
    path = tmp_path / "cpu" / memory.FILE
    before = Memory(**json.loads(path.read_text()))
    done = {name for name in before.jobs if before.state(name) == DONE}
    ends = STOPPED, LATE
    stopped = [job for job in before.jobs.values() if job["state"] in ends]
    assert done and stopped
    assert all("time of the call" in job["reason"] for job in stopped)

    second = campaign(tmp_path, "--seconds", "900")
    assert second.returncode == 0, second.stdout
    after = Memory(**json.loads(path.read_text()))
    for name in done:
        assert after.jobs[name] == before.jobs[name]
    stages = {name.partition(":")[0] for name in after.jobs}
    assert stages == set(jobs.STAGES) - {"torch"}
    assert "resumed bit for bit, verified" in second.stdout
    assert "search: reproduction: 2 of 2 epochs" in second.stdout
    assert "| compared with torch on a CPU | largest difference |" in second.stdout
    assert "- left" not in second.stdout.replace("- left: torch", "")
