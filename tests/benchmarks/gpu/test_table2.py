"""Which cell the trainings of the campaign get, and what their script is asked."""

import io
import json
import subprocess

import pytest

from benchmarks.gpu import table2_task
from benchmarks.gpu.child import Context, Settings
from benchmarks.gpu.ends import UnfinishedError


@pytest.fixture
def out(tmp_path):
    for name, epochs in (("paper", 20), ("reproduction", 50)):
        run = tmp_path / "searches" / name
        run.mkdir(parents=True)
        (run / "config.json").write_text('{"epochs": 50}')
        (run / "summary.json").write_text(json.dumps({"epochs": epochs}))
    return tmp_path


def test_trainings_take_the_cell_of_a_search_that_has_ended(out):
    assert table2_task.cell_of(out) == str(out / "searches" / "reproduction")


def test_the_cell_stays_the_same_when_another_search_ends(out, tmp_path):
    (out / "searches" / "reproduction" / "summary.json").unlink()
    assert table2_task.cell_of(out) == table2_task.CELL
    (out / "searches" / "paper" / "summary.json").write_text('{"epochs": 50}')
    assert table2_task.cell_of(out) == table2_task.CELL


def test_the_cell_is_found_after_the_folder_was_moved(out):
    table2_task.cell_of(out)
    moved = out.rename(out.with_name("moved"))
    assert table2_task.cell_of(moved) == str(moved / "searches" / "reproduction")


class Script:
    """Stands for the process of experiments/table2.py."""

    def __init__(self, code):
        self.returncode = code

    def communicate(self):
        lines = ["seed0: 3 of 600 epochs, 40 s", "<!-- results -->", "| a table |"]
        return "\n".join(lines) + "\n", None


@pytest.mark.parametrize(
    "code, error", [(0, None), (130, UnfinishedError), (1, RuntimeError)]
)
def test_the_exit_code_of_the_script_decides_how_the_job_ends(
    code, error, out, monkeypatch
):
    commands, answers = [], io.StringIO()

    def compile_only(command, **options):
        assert answers.getvalue() == ""  # the card is free meanwhile
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    def start(command, **options):
        assert "ready" in answers.getvalue()
        commands.append(command)
        assert options["env"]["PYTHONPATH"].startswith(str(table2_task.ROOT))
        return Script(code)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(subprocess, "run", compile_only)
    monkeypatch.setattr(table2_task.signal, "signal", lambda *arguments: None)
    settings = Settings(out, "data", None, "gpu")
    context = Context(settings, answers, io.StringIO('{"beside": 0}\n'), "")
    if error is None:
        table2_task.carry_trainings(context, "full")
    else:
        with pytest.raises(error, match=r"seed0: 3 of 600|ended with 1; see its log"):
            table2_task.carry_trainings(context, "full")
    compiling, command = commands
    assert compiling == [*command, "--compile-only"]
    assert "precision=bfloat16" in command
    assert command[command.index("--data-dir") + 1] == "data"
    result = json.loads(answers.getvalue().splitlines()[-1])["result"]
    assert result["progress"] == ["seed0: 3 of 600 epochs, 40 s"]


def test_a_network_that_does_not_compile_takes_no_card(out, monkeypatch):
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: failed)
    answers = io.StringIO()
    context = Context(Settings(out, "data", None, "gpu"), answers, io.StringIO(), "")
    with pytest.raises(RuntimeError, match="table2.py ended with 1; see its log"):
        table2_task.carry_trainings(context, "full")
    assert answers.getvalue() == ""
