"""The notebooks of the documentation run as they stand there."""

import json
import pathlib
import sys
import types

import pytest
from own_plugins import as_in_a_new_process

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored_without_an_error(path):
    outputs = [output for cell in code_cells(path) for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert "stream" in kinds and "error" not in kinds


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, capsys):
    display = types.ModuleType("IPython.display")  # notebooks alone have it
    display.SVG = str
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    names = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", names)  # dataclasses look it up
    with as_in_a_new_process():
        for cell in code_cells(path):
            exec("".join(cell["source"]), vars(names))
    assert "Genotype(" in capsys.readouterr().out
