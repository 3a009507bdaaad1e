"""The notebooks of the documentation run as they stand there, with the same outputs.

A cell is compared by the kinds of its outputs and by its text. A search ends in another
place on another processor, so numbers may differ, primitives too, and percentages a
little. The table of NAS-Bench-201 gives the same numbers everywhere.
"""

import ast
import contextlib
import importlib.util
import io
import json
import pathlib
import re
import sys
import types
import xml.etree.ElementTree as ElementTree

import jax
import pytest
from own_plugins import as_in_a_new_process

from egnas_jax.space.primitive_names import FAMILIES

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EXACT = ("table_searches",)  # where the whole table of the benchmark is found
SVG = "image/svg+xml"
NUMBER = re.compile(r"(?:(?<!\S)-)?\d[\d,]*(?:\.\d+)?")
PERCENTAGE = re.compile(r"([\d.]+) %")
BELOW = 30  # percentage points by which two processors may differ


class Svg(str):
    """What a notebook shows with `IPython.display.SVG`."""


def read(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())


def code_cells(name):
    return [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]


def stored_outputs(cell):
    """(kind, content) of each output that the notebook holds."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield "stdout", "".join(output["text"])
        elif SVG in output["data"]:
            yield SVG, "".join(output["data"][SVG])
        else:
            yield "value", "".join(output["data"]["text/plain"])


def run_cell(source, names):
    """(kind, content) of each output, as Jupyter shows them."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    outputs = [("stdout", printed.getvalue())] if printed.getvalue() else []
    if value is not None:
        kind = SVG if isinstance(value, Svg) else "value"
        outputs.append((kind, str(value)))
    return outputs


def wording(text):
    """The text without what another processor may change."""
    names = "|".join(sorted(FAMILIES, key=len, reverse=True))
    return NUMBER.sub("#", re.sub(rf"\b({names})\b", "PRIMITIVE", text))


def assert_alike(text, stored):
    assert wording(text) == wording(stored)
    percentages = (map(float, PERCENTAGE.findall(each)) for each in (text, stored))
    for actual, expected in zip(*percentages, strict=True):
        assert actual == pytest.approx(expected, abs=BELOW), text


@pytest.fixture(scope="module")
def script():
    """The script that writes what the notebooks share."""
    spec = importlib.util.spec_from_file_location("notebooks", FOLDER / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_of(path):
    return path.stem


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=names_of)


def test_there_are_six_notebooks():
    assert len(NOTEBOOKS) == 6


@each_notebook
def test_outputs_are_stored_and_are_text_or_drawings(path):
    outputs = [output for cell in code_cells(path.stem) for output in cell["outputs"]]
    assert "stream" in {output["output_type"] for output in outputs}
    for output in outputs:
        assert output["output_type"] in ("stream", "execute_result")
        assert output.get("name", "stdout") == "stdout"  # no warning
        assert set(output.get("data", {})) <= {"text/plain", SVG}


@each_notebook
def test_every_notebook_begins_with_its_link_and_installs_the_package(script, path):
    notebook = read(path.stem)
    assert script.with_shared_cells(notebook, path.stem) == notebook
    title, first = ("".join(cell["source"]) for cell in notebook["cells"][:2])
    assert f"/blob/main/docs/notebooks/{path.name})" in title
    assert f"git+{script.ADDRESS}" in first


def test_shared_cells_are_put_where_they_are_missing_and_replaced_where_they_are_not(
    script, monkeypatch
):
    text = {"cell_type": "markdown", "id": "a", "source": ["# T\n", "\n", "Words."]}
    code = {"cell_type": "code", "id": "b", "source": ["x = 1"]}
    written = script.with_shared_cells({"cells": [text, code]}, "take_away")
    title, first, last = written["cells"]
    assert "".join(title["source"]) == f"# T\n\n{script.badge('take_away')}\n\nWords."
    assert "egnas-jax[export] @" in "".join(first["source"]) and last == code
    monkeypatch.setattr(script, "ADDRESS", "https://github.com/someone/else")
    moved = script.with_shared_cells(written, "take_away")
    assert len(moved["cells"]) == 3
    source = "".join(moved["cells"][0]["source"])
    assert source.count("[![Open") == 1 and "/github/someone/else/blob" in source


@pytest.mark.parametrize("is_there", [True, False])
def test_the_first_cell_installs_only_a_missing_package(script, monkeypatch, is_there):
    calls = []
    spec = object() if is_there else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    monkeypatch.setattr("subprocess.run", lambda words, check: calls.append(words))
    exec(script.install("take_away"), {})
    packages = [f"egnas-jax[export] @ git+{script.ADDRESS}", "onnxruntime"]
    assert [words[-2:] for words in calls] == ([] if is_there else [packages])


@pytest.mark.parametrize("name", ["take_away", "plain_flax"])
def test_later_notebooks_train_the_cell_that_the_first_one_found(name):
    texts = (text for c in code_cells("first_search") for _, text in stored_outputs(c))
    found = next(text for text in texts if text.startswith("Genotype"))
    source = "".join("".join(cell["source"]) for cell in code_cells(name))
    written = re.search(r'"""\n(Genotype.*?)\n"""', source, re.S)[1]
    assert re.sub(r"\s+", " ", written) == found.splitlines()[0]


def test_texts_are_compared_by_their_words_and_roughly_by_percentages():
    stored = "error 12.5 % of 1,024, [('skip_connect', 0)]"
    assert_alike("error 2 % of 9, [('sep_conv_3x3', 1)]", stored)
    assert_alike("tau: -0.02", "tau: 0.1")
    for other in (
        "error 90 % of 9, [('none', 0)]",
        "errors 12.5 % of 1,024, [('x', 0)]",
    ):
        with pytest.raises(AssertionError):
            assert_alike(other, stored)


@pytest.fixture
def modules(monkeypatch):
    """The modules that only a notebook has; one of them holds its variables."""
    display = types.ModuleType("IPython.display")
    display.SVG = Svg
    ipython = types.ModuleType("IPython")
    ipython.version_info = (9, 0)  # matplotlib asks for it
    variables = types.ModuleType("notebook")  # dataclasses look it up
    for name, module in (
        ("IPython", ipython),
        ("IPython.display", display),
        ("notebook", variables),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return vars(variables)


@pytest.mark.longest
@pytest.mark.usefixtures("readers_options")  # its searches run for longer
@each_notebook
def test_a_notebook_runs_and_has_the_outputs_that_it_holds(
    path, modules, tmp_path, monkeypatch, nasbench201, golden_file
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nasbench201.npz").symlink_to(nasbench201)
    is_exact = path.stem in EXACT and nasbench201 == golden_file("nasbench201.npz")
    # as JAX is for readers, whose other libraries need not pass the tests' strictness
    usual = jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with as_in_a_new_process(), usual[0], usual[1]:
        for cell in code_cells(path.stem):
            outputs = run_cell("".join(cell["source"]), modules)
            stored = list(stored_outputs(cell))
            assert [kind for kind, _ in outputs] == [kind for kind, _ in stored]
            for (kind, text), (_, expected) in zip(outputs, stored, strict=True):
                if kind == SVG:
                    ElementTree.fromstring(text)
                elif is_exact:
                    assert text == expected
                else:
                    assert_alike(text, expected)
