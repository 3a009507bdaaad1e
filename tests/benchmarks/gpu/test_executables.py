"""Programs that are compiled beforehand: loaded where they fit, and only there."""

import contextlib
import lzma
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.gpu import executables, jobs, targets
from benchmarks.gpu.sizes import full_size
from benchmarks.rows import Row, same_arguments
from egnas_jax.types import Batch


@pytest.fixture(scope="module")
def row():
    """A program that takes and returns records."""
    batch = Batch(jnp.arange(6.0).reshape(2, 3), jnp.array([1, 2], jnp.int32))

    def run(batch):
        return batch.replace(images=2.0 * batch.images)

    return Row(
        name="double",
        precision="float32",
        function=run,
        arguments=(batch,),
        options={},
        run=same_arguments,
        images=2,
        products=0,
        bytes=None,
    )


@pytest.fixture
def folder(row, tmp_path):
    program = targets.compile_row(row, None)
    kind = jax.devices()[0].device_kind
    (tmp_path / "double").write_bytes(executables.packed(program, kind, 1.0))
    return tmp_path


def test_a_carried_program_computes_the_same(row, folder):
    compiled, origin = executables.load_or_compile(row, folder, "double")
    assert origin == "compiled beforehand"
    result = compiled.call(*row.arguments)
    np.testing.assert_array_equal(result.images, [[0, 2, 4], [6, 8, 10]])
    np.testing.assert_array_equal(result.labels, [1, 2])
    assert compiled.bytes > 0


def rewrite(path, **changes):
    content = executables.unpacked(path) | changes
    path.write_bytes(lzma.compress(pickle.dumps(content)))


@pytest.mark.parametrize("what", ["jax", "device", "source"])
def test_a_program_that_does_not_fit_is_compiled_and_the_reason_said(what, row, folder):
    path = folder / "double"
    rewrite(path, **{what: "another"})
    compiled, origin = executables.load_or_compile(row, folder, "double")
    assert origin.startswith("compiled here: the carried one failed: its " + what)
    assert compiled.call(*row.arguments).images[1, 2] == 10


def test_a_program_that_the_device_refuses_is_compiled(row, folder):
    path = folder / "double"
    rewrite(path, payload=b"no program")
    _, origin = executables.load_or_compile(row, folder, "double")
    assert origin.startswith("compiled here: the carried one failed")


def test_a_damaged_file_is_compiled_and_the_reason_said(row, folder):
    path = folder / "double"
    path.write_bytes(path.read_bytes()[:-20])
    _, origin = executables.load_or_compile(row, folder, "double")
    assert origin.startswith("compiled here: the carried one failed: the file is dam")


@pytest.mark.parametrize("content", [5, {"jax": jax.__version__}])
def test_a_file_with_something_else_is_damaged(content, tmp_path):
    (tmp_path / "double").write_bytes(lzma.compress(pickle.dumps(content)))
    with pytest.raises(ValueError, match="the file is damaged: it holds something"):
        executables.load(tmp_path / "double")


def test_a_missing_program_is_compiled(row, tmp_path):
    _, origin = executables.load_or_compile(row, tmp_path, "other")
    assert origin == "compiled here: other was not carried"
    _, origin = executables.load_or_compile(row, None, "other")
    assert origin == "compiled here"


def test_names_tell_flags_apart():
    names = {
        executables.name_of("full", "full", "weight-step", "bfloat16", flags)
        for flags in ("--level=0", "--level=4")
    }
    assert len(names) == 2


def test_the_programs_of_a_folder_are_known_by_their_names(tmp_path):
    chosen = jobs.jobs_of(full_size())
    [job] = [job for job in chosen if job.name == "speed: weight-step, bfloat16"]
    name = executables.name_of(**job.options, flags=job.flags)
    (tmp_path / name).write_bytes(b"")
    assert executables.carried(chosen, tmp_path) == {job.name}
    assert executables.carried(chosen, None) == set()


def test_a_search_is_carried_where_all_of_its_programs_are(tmp_path):
    chosen = jobs.jobs_of(full_size())
    [job] = [job for job in chosen if job.name == "search: paper"]
    names = executables.names_of(job)
    assert len(set(names)) == 3
    for name in names:
        assert executables.carried(chosen, tmp_path) == set()
        (tmp_path / name).write_bytes(b"")
    assert executables.carried(chosen, tmp_path) == {job.name}


def test_files_of_all_jobs_differ():
    chosen = [job for job in jobs.jobs_of(full_size()) if job.task in executables.TASKS]
    names = [name for job in chosen for name in executables.names_of(job)]
    assert len(set(names)) == len(names)


def test_an_unknown_name_is_refused(tmp_path, capsys):
    options = ["--out", str(tmp_path), "--size", "full", "speed: no such program"]
    assert executables.main(options) == 2
    assert "unknown ['speed: no such program']" in capsys.readouterr().err


@pytest.mark.parametrize("card", [[], ["--card", "h200"]])
def test_programs_are_compiled_under_the_flags_that_their_names_say(
    card, tmp_path, monkeypatch
):
    """XLA reads them when jax starts, which asking for the target does."""
    seen = []

    def target(card):
        seen.append(os.environ["XLA_FLAGS"])
        return contextlib.nullcontext((None, "a card"))

    monkeypatch.setenv("XLA_FLAGS", "--of-the-user")
    monkeypatch.setattr(executables, "target", target)
    monkeypatch.setattr(
        executables, "_write", lambda job, *rest: seen.append(job.flags)
    )
    name = "speed: weight-step, bfloat16"
    assert executables.main(["--out", str(tmp_path), *card, name]) == 0
    assert seen == [f"--of-the-user {jobs.PLAIN}", jobs.PLAIN]


def test_an_unknown_card_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # the command changes it
    folder = tmp_path / "programs"
    assert executables.main(["--out", str(folder), "--card", "h2000"]) == 2
    text = capsys.readouterr().err
    assert "Unknown card 'h2000'. Did you mean h200" in text and text.count("\n") == 1
    assert not folder.exists()
