"""What the campaign remembers: one file, replaced as a whole, and its archive."""

import json
import os

import pytest

from benchmarks.gpu import archive, memory
from benchmarks.gpu.jobs import Job, Stage
from benchmarks.gpu.memory import DONE, FAILED, STOPPED, WRONG, Memory

STAGE = Stage("stage", "", 60.0)


def job(name):
    return Job(name, STAGE, "row", {})


def ended(known, name, state):
    return memory.end(memory.begin(known, name), name, state, "why", 1.234)


def test_a_memory_is_read_as_it_was_written(tmp_path):
    known = memory.load(tmp_path, "tiny")
    assert known == Memory({}, "tiny", {})
    known = memory.begin(known._replace(machine={"jax": "1"}), "a")
    known = memory.with_result(known, "a", "row", {"seconds": 0.5})
    known = memory.end(known, "a", DONE, "", 3.14159)
    memory.save(tmp_path, known)
    assert memory.load(tmp_path, "tiny") == known
    assert known.jobs["a"]["seconds"] == 3.14
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_results_of_another_size_and_damaged_files_are_refused(tmp_path):
    memory.save(tmp_path, Memory({}, "tiny", {}))
    with pytest.raises(ValueError, match="of the size tiny, and this call .* full"):
        memory.load(tmp_path, "full")
    (tmp_path / memory.FILE).write_text('{"machine": {')
    with pytest.raises(ValueError, match="is damaged.*Name another folder by --out"):
        memory.load(tmp_path, "tiny")


ENTRY = {"attempts": 1, "state": "done", "reason": "", "results": {}}


@pytest.mark.parametrize(
    "changes",
    [
        {"jobs": []},
        {"jobs": {"a": 5}},
        {"machine": None},
        {"jobs": {"a": {**ENTRY, "results": 5}}},
        {"jobs": {"a": {**ENTRY, "results": {"row": 5}}}},
        {"jobs": {"a": {**ENTRY, "attempts": None}}},
        {"jobs": {"a": {}}},
    ],
)
def test_a_file_with_other_types_is_damaged(changes, tmp_path):
    content = {"machine": {}, "size": "tiny", "jobs": {"a": ENTRY}}
    (tmp_path / memory.FILE).write_text(json.dumps(content))
    assert memory.load(tmp_path, "tiny").state("a") == DONE
    (tmp_path / memory.FILE).write_text(json.dumps(content | changes))
    with pytest.raises(ValueError, match="is damaged.*Name another folder by --out"):
        memory.load(tmp_path, "tiny")


def test_functions_of_a_memory_do_not_change_it():
    first = memory.begin(Memory({}, "tiny", {}), "a")
    text = json.dumps(first)
    memory.with_result(first, "a", "row", {"seconds": 1.0})
    ended(first, "a", FAILED)
    memory.forget(first, ["a"])
    assert json.dumps(first) == text


def test_an_attempt_keeps_earlier_results_and_counts():
    known = memory.begin(Memory({}, "tiny", {}), "a")
    known = memory.with_result(known, "a", "row", {"seconds": 1.0})
    known = memory.begin(memory.end(known, "a", STOPPED, "time", 9.0), "a")
    assert known.state("a") == memory.BEGUN and known.jobs["a"]["attempts"] == 2
    assert known.jobs["a"]["results"] == {"row": {"seconds": 1.0}}


def test_jobs_are_left_in_order_of_worth_with_failed_ones_last():
    known = ended(Memory({}, "tiny", {}), "failed", FAILED)
    known = ended(ended(known, "done", DONE), "stopped", STOPPED)
    for _ in range(2):
        known = memory.begin(known, "killed twice", loads=True)
    known = memory.begin(known, "compiled")
    names = ["killed twice", "failed", "done", "stopped", "compiled", "new"]
    left = memory.in_order(known, [job(name) for name in names])
    in_order = ["stopped", "compiled", "new", "failed", "killed twice"]
    assert [one.name for one in left] == in_order


def test_a_wrong_result_is_not_measured_again_unless_it_is_forgotten():
    known = ended(Memory({}, "tiny", {}), "a", WRONG)
    assert memory.in_order(known, [job("a")]) == []
    assert memory.in_order(memory.forget(known, ["a"]), [job("a")]) == [job("a")]


@pytest.fixture
def folder(tmp_path):
    """A campaign's folder with two checkpoints of a run and a cache."""
    base = tmp_path / "card"
    for name, text in {
        "results.json": "{}",
        "cache/program": "left out",
        "searches/paper/metrics.jsonl": "{}\n",
        "searches/paper/checkpoints/98/default/array": "old",
        "searches/paper/checkpoints/196/default/array": "new",
        "table2/seed0/checkpoints/9/array": "only",
    }.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    return base


def test_an_archive_keeps_the_newest_checkpoint_of_each_run(folder):
    assert [str(path) for path in archive.files_of(folder)] == [
        "results.json",
        "searches/paper/checkpoints/196/default/array",
        "searches/paper/metrics.jsonl",
        "table2/seed0/checkpoints/9/array",
    ]


def test_the_oldest_checkpoints_are_left_out_of_an_archive_that_is_too_large(
    folder, monkeypatch
):
    ages = {"searches/paper": 100.0, "searches/reproduction": 50.0, "table2/seed0": 1.0}
    for run, seconds in ages.items():
        path = folder / run / "checkpoints" / "200" / "array"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10_000))
        os.utime(path, (seconds, seconds))

    def runs_with_checkpoints(limit):
        monkeypatch.setattr(archive, "LIMIT_BYTES", limit)
        kept = archive.files_of(folder)
        assert {str(path) for path in kept} >= {
            "results.json",
            "searches/paper/metrics.jsonl",
        }
        return [str(path.parents[2]) for path in kept if "checkpoints" in path.parts]

    assert runs_with_checkpoints(60_000) == sorted(ages)
    assert runs_with_checkpoints(45_000) == ["searches/paper", "searches/reproduction"]
    assert runs_with_checkpoints(30_000) == ["searches/paper"]
    assert runs_with_checkpoints(10) == []


def test_an_archive_is_no_larger_than_its_limit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PART_BYTES", 10_240)
    for number in range(8):
        path = folder / "searches" / str(number) / "checkpoints" / "1" / "array"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(3_000))
    stem = tmp_path / "campaign.tar"
    assert archive.write(folder, stem) > 2
    monkeypatch.setattr(archive, "LIMIT_BYTES", 20_480)
    assert archive.write(folder, stem) <= 2


def test_an_archive_in_parts_restores_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PART_BYTES", 4096)
    (folder / "large").write_bytes(bytes(range(256)) * 64)
    stem = tmp_path / "archive" / "campaign.tar"
    count = archive.write(folder, stem)
    assert count > 4
    archive.read(stem, tmp_path / "copy")
    assert archive.files_of(tmp_path / "copy") == archive.files_of(folder)
    large = (tmp_path / "copy" / "large").read_bytes()
    assert large == (folder / "large").read_bytes()


def test_parts_of_a_longer_archive_do_not_stay(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PART_BYTES", 4096)
    stem = tmp_path / "campaign.tar"
    (folder / "large").write_bytes(bytes(20_000))
    long = archive.write(folder, stem)
    (folder / "large").unlink()
    short = archive.write(folder, stem)
    assert short < long
    assert len(list(tmp_path.glob("campaign.tar.*"))) == short


def write_in_two_parts(folder, stem, monkeypatch, byte):
    monkeypatch.setattr(archive, "PART_BYTES", 16384)
    (folder / "large").write_bytes(byte * 10_000)
    assert archive.write(folder, stem) == 2


def test_an_archive_without_its_last_part_leaves_no_file(folder, tmp_path, monkeypatch):
    stem, copy = tmp_path / "campaign.tar", tmp_path / "copy"
    write_in_two_parts(folder, stem, monkeypatch, b"a")
    last = archive.part(stem, 1).rename(tmp_path / "kept")
    with pytest.raises(ValueError, match="There is no .*campaign.tar.01"):
        archive.read(stem, copy)
    assert not copy.exists()
    last.rename(archive.part(stem, 1))
    archive.read(stem, copy)
    assert (copy / "large").read_bytes() == b"a" * 10_000


def test_parts_of_two_archives_are_refused(folder, tmp_path, monkeypatch):
    stem, copy = tmp_path / "campaign.tar", tmp_path / "copy"
    write_in_two_parts(folder, stem, monkeypatch, b"a")
    old = archive.part(stem, 0).read_bytes()
    write_in_two_parts(folder, stem, monkeypatch, b"b")
    archive.part(stem, 0).write_bytes(old)
    with pytest.raises(ValueError, match="of different archives: copy all 2 parts"):
        archive.read(stem, copy)
    assert not copy.exists()


def test_a_missing_or_cut_archive_is_refused(folder, tmp_path):
    stem = tmp_path / "campaign.tar"
    with pytest.raises(ValueError, match="There is no .*campaign.tar.00"):
        archive.read(stem, tmp_path / "copy")
    archive.write(folder, stem)
    part = archive.part(stem, 0)
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(ValueError, match="They are damaged"):
        archive.read(stem, tmp_path / "copy")
    part.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no part of an archive. Copy it again"):
        archive.read(stem, tmp_path / "copy")
