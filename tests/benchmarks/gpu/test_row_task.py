"""When a row takes the card, and what its differences from torch mean."""

import io

import pytest

from benchmarks.gpu import jobs, row_task
from benchmarks.gpu.child import Context, Settings, WrongError


class CompilingError(Exception):
    """Ends a row when it compiles."""


@pytest.mark.parametrize(
    "flags, has_card", [(jobs.AUTOTUNED, True), (jobs.PLAIN, False)]
)
def test_a_row_that_autotunes_has_the_card_before_it_compiles(
    flags, has_card, tmp_path, monkeypatch
):
    def compile_now(*arguments):
        raise CompilingError

    monkeypatch.setattr(row_task.programs, "build", lambda *arguments: None)
    monkeypatch.setattr(row_task.executables, "load_or_compile", compile_now)
    settings = Settings(tmp_path, None, None, "cpu")
    grant = io.StringIO('{"beside": 0, "halted": 0}\n')
    context = Context(settings, io.StringIO(), grant, flags)
    with pytest.raises(CompilingError):
        row_task.measure_row(context, "tiny", "tiny", "population-running", "bfloat16")
    assert (context.beside is not None) == has_card


def test_a_row_too_far_from_torch_is_wrong_and_not_to_be_repeated():
    assert issubclass(row_task.ParityError, WrongError)
