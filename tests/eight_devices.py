"""Runs a file of tests in a process that sees eight simulated devices."""

import ast
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree


def names(file: pathlib.Path) -> list[str]:
    """Names of the tests of a file."""
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def run(file: pathlib.Path, folder: pathlib.Path) -> dict[str, list[str]]:
    """Test -> what failed in its cases; empty where they passed.

    Args:
      file: of tests.
      folder: for the report.
    """
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", str(file)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failed = found.setdefault(case.get("name").partition("[")[0], [])
        failed += [f"{case.get('name')}: {part.text}" for part in case]
    return found
