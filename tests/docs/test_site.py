"""The documentation site names all public names, and its links lead somewhere."""

import importlib.util
import pathlib
import re

import pytest

import egnas_jax
from egnas_jax.cli.main import HELP
from egnas_jax.strategies import STRATEGIES

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def conf():
    spec = importlib.util.spec_from_file_location("docs_conf", DOCS / "conf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_names_every_public_name_once():
    text = (DOCS / "api.md").read_text()
    reference, _, modules = text.partition("`eg.evolution`")
    assert "`eg.interop`" in modules
    names = re.findall(
        r"^\.\. (?:auto)?(?:function|class|data):: (\w+)$", reference, re.M
    )
    modules = {"evolution", "interop", "linen", "proxies"}
    assert sorted(names) == sorted(set(egnas_jax.__all__) - modules)
    assert "egnas_jax.nn.linen.Supernet" in text


def test_every_page_is_in_the_contents():
    contents = set(re.findall(r"^([\w/]+)$", (DOCS / "index.md").read_text(), re.M))
    pages = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in pages}
    assert pages - {"index"} == contents & pages
    assert {"start", "api", "notebooks/own_space"} <= contents


def test_the_readme_is_short_and_lists_every_method():
    text = (DOCS.parent / "README.md").read_text()
    assert len(text.splitlines()) <= 180
    rows = re.findall(r"^\| \[`(\w+)`\]\((\S+)\)", text, re.M)
    assert sorted(name for name, _ in rows) == sorted(STRATEGIES)
    sections = re.findall(r"^## `(\w+)`$", (DOCS / "methods.md").read_text(), re.M)
    assert sorted(sections) == sorted(STRATEGIES)
    anchors = [page.partition("#")[2] for name, page in rows if name != "egnas"]
    assert set(anchors) <= set(sections)


def test_the_page_for_beginners_lists_every_command():
    text = (DOCS / "start.md").read_text()
    listed = re.findall(r"`egnas ([a-z-]+)", text)
    assert set(listed) == set(HELP)


def test_the_way_through_the_code_names_files_and_what_they_define():
    text = (DOCS.parent / "CONTRIBUTING.md").read_text()
    _, _, section = text.partition("## The way through the code\n")
    section = section.partition("\n## ")[0]
    assert len(re.findall(r"^\d+\. ", section, re.M)) == 10
    named = re.findall(r"\]\((egnas_jax/\S+\.py)\)\s+`(\w+)`(?:, `(\w+)`)?", section)
    assert len(named) >= 10
    for file, *names in named:
        source = (DOCS.parent / file).read_text()
        missing = [name for name in names if name and f"def {name}(" not in source]
        assert not missing, (file, missing)


@pytest.mark.parametrize(
    ("link", "written"),
    [
        ("[a](../egnas.md#ideas)", "[a](../egnas.md#ideas)"),
        ("[a](../../README.md)", "[a](../index.md)"),
        ("[a](../../benchmarks/README.md#x)", "[a](benchmarks.md#x)"),
        ("[a](../../egnas_jax/types.py)", "[a](../../egnas_jax/types.py)"),
        ("[a](../../experiments/results)", "[a]"),
        ("[a](https://example.org/b.md)", "[a](https://example.org/b.md)"),
        ("[a](#ideas)", "[a](#ideas)"),
    ],
)
def test_links_lead_to_pages_or_files(conf, link, written):
    page = DOCS / "lab" / "scaling.md"
    assert conf.relink(link, page.parent, page) == written


def test_links_of_an_included_file_count_from_its_folder(conf):
    text = "[a](docs/egnas.md), [b](egnas_jax/types.py)"
    written = conf.relink(text, DOCS.parent, DOCS / "contributing.md")
    assert written == "[a](egnas.md), [b](../egnas_jax/types.py)"
