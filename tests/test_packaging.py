"""What is released: the wheel has every file, and the workflows run what CI runs."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import egnas_jax

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def targets(text: str) -> set[str]:
    """The targets of `make` that a script names."""
    return set(re.findall(r"\bmake ([a-z-]+)", text))


def test_the_workflow_runs_what_ci_runs_and_more():
    makefile = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    ci, workflow = (targets(p.read_text()) for p in (ROOT / ".ci" / "run", WORKFLOW))
    assert ci == {"lint", "docs", "test", "test-slow"}
    assert workflow == ci | {"dist", "test-longest"} <= makefile


def test_the_version_is_written_in_the_package_and_cited_alike():
    assert "version = attr: egnas_jax.__version__" in (ROOT / "setup.cfg").read_text()
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    bibtex = re.search(r"version = {(.+)}", (ROOT / "README.md").read_text())
    newest = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert cited[1] == bibtex[1] == newest[1] == egnas_jax.__version__


@pytest.mark.slow
def test_the_wheel_has_every_module_and_file(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, installed = tmp_path / "wheels", tmp_path / "installed"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, ROOT], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", installed, wheel], check=True
    )
    package = pathlib.Path(egnas_jax.__file__).parent
    files = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    built = installed / "egnas_jax"
    assert {"py.typed", "space/zoo.json"} <= files
    assert files <= {str(path.relative_to(built)) for path in built.rglob("*")}
    command = [sys.executable, "-m", "egnas_jax", "list", "zoo"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "DARTS_V2" in done.stdout and done.returncode == 0, done.stderr
