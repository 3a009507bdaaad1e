"""What a page marks with `run` does run, at a tiny size, in one working folder.

A fence that begins with "```sh run" or "```python run" is marked. A page may use what
the pages before it wrote, so their order is that in which a reader meets them. The
Python of a page shares its names.
"""

import pathlib
import re
import shlex

import numpy as np
import pytest
import tiny_search

import egnas_jax
from egnas_jax.cli.main import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/start.md",
    "docs/data.md",
    "docs/searching.md",
    "docs/retrain.md",
    "docs/report.md",
    "docs/nasbench201.md",
    "docs/reproducibility.md",
    "docs/clusters.md",
    "docs/python.md",
)
MARKED = re.compile(r"^```(sh|python) run\n(.*?)^```", re.M | re.S)
SEARCH = tiny_search.SETTINGS | {"epochs": 2}
RETRAINING = {
    "epochs": 1,
    "batch_size": 256,
    "network.channels": 4,
    "network.layers": 1,
}
# command -> options that make it small
TINY = {
    "search": ["--space", "tiny", *tiny_search.words(SEARCH)],
    "retrain": tiny_search.words(RETRAINING),
    "noise": ["--batches", "4", "--batch-size", "64"],
    "table-search": ["--runs", "4", "--queries", "20", "--strategy", "random_search"],
    "doctor": ["--no-search"],
}
LONGER = ["--set", "epochs=3"]  # than the run that a command restores
PLAN = """
[search]
space = "tiny"
settings = {{ {search} }}
[retrain]
settings = {{ {retrain} }}
"""
# what the pages say that they write
WRITTEN = (
    "runs/first/genotype.json",
    "runs/python/genotype.json",
    "runs/net/summary.json",
    "runs/a/genotype.svg",
    "runs/cell/evaluation.json",
    "report/report.html",
    "cell.svg",
    "digits.png",
    "runs/b/noise.svg",
    "runs/c/restored.json",
    "runs/cell/network.safetensors",
    "table/curves.svg",
    "DIR/retrain/seed0/seed0/summary.json",
)


def marked() -> list[tuple[str, str, str]]:
    """(page, language, text) of every marked fence, in the order of `PAGES`."""
    return [
        (page, language, text)
        for page in PAGES
        for language, text in MARKED.findall((ROOT / page).read_text())
    ]


def commands() -> list[str]:
    """Every marked command once, without `egnas` and its comment."""
    lines = [
        line
        for _, language, text in marked()
        if language == "sh"
        for line in text.splitlines()
    ]
    return list(dict.fromkeys(line.partition("#")[0].strip() for line in lines if line))


def test_every_marked_line_is_a_command_and_every_page_with_one_is_listed():
    assert len(commands()) >= 20
    assert all(command.startswith("egnas ") for command in commands())
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_marks = {path for path in pages if MARKED.search(path.read_text())}
    assert {str(path.relative_to(ROOT)) for path in with_marks} == set(PAGES)


@pytest.fixture
def folder(tmp_path, monkeypatch, write_table):
    """A working folder with the files that the pages name."""
    write_table(
        tmp_path / "FILE.npz",
        lambda cells: (np.full(len(cells), 50.0, "f4"), cells[:, 0] + np.float32(60)),
    )
    settings = (
        ", ".join(f"{path} = {value}" for path, value in options.items())
        for options in (SEARCH, RETRAINING)
    )
    plan = PLAN.format(search=next(settings), retrain=next(settings))
    (tmp_path / "PLAN.toml").write_text(plan)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny_configurations(monkeypatch):
    """Makes the configurations that a script builds as small as those of commands."""
    for name, tiny, more in (
        ("search_config", SEARCH, {"space": "tiny"}),
        ("retrain_config", RETRAINING, {}),
    ):
        build = getattr(egnas_jax, name)

        def build_tiny(preset, *, settings=None, build=build, tiny=tiny, more=more):
            return build(preset, settings={**(settings or {}), **tiny}, **more)

        monkeypatch.setattr(egnas_jax, name, build_tiny)


@pytest.mark.slow
def test_what_is_marked_runs(folder, monkeypatch, capsys):
    tiny_configurations(monkeypatch)
    with tiny_search.registered_space():
        names = {page: {} for page in PAGES}
        for page, language, text in marked():
            if language == "python":
                exec(compile(text, page, "exec"), names[page])
        for command in commands():
            _, name, *_ = words = shlex.split(command)
            tiny = [*TINY.get(name, ()), *(LONGER if "--restore" in words else ())]
            code = main([*words[1:], *tiny])
            assert code == 0, f"{command}: {capsys.readouterr().err}"
    missing = [name for name in WRITTEN if not (folder / name).exists()]
    assert not missing, missing
