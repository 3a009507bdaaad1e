"""When a row takes the card, and what it and the torch loop say beside their times."""

import io
import json

import pytest

from benchmarks.gpu import jobs, row_task, torch_task
from benchmarks.gpu.child import Context, Settings
from benchmarks.gpu.ends import WrongError


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


def test_the_torch_loop_says_who_compiled_beside_it(tmp_path, monkeypatch):
    rates = [("weight-step", 2_000.0)]
    monkeypatch.setattr(torch_task.opponent, "make_side", lambda *arguments: None)
    monkeypatch.setattr(torch_task.opponent, "rates", lambda *arguments: rates)
    answers, grant = io.StringIO(), io.StringIO('{"beside": 1, "halted": 7}\n')
    context = Context(Settings(tmp_path, None, None, "cpu"), answers, grant, "")
    torch_task.measure_torch(context, "tiny", {"amp": True})
    said = json.loads(answers.getvalue().splitlines()[-1])
    assert (said["name"], said["result"]["images_per_s"]) == rates[0]
    assert (said["result"]["beside"], said["result"]["halted"]) == (1, 7)
