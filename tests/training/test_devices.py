"""Runs the tests of two files, each by its name, in a process with eight devices.

The number of simulated devices is fixed when JAX starts.
"""

import ast
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

pytestmark = pytest.mark.slow

FILES = [
    str(pathlib.Path(__file__).with_name(name))
    for name in ("on_eight_devices.py", "shards_on_eight_devices.py")
]
NAMES = [
    node.name
    for file in FILES
    for node in ast.parse(pathlib.Path(file).read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Test -> what failed in its cases; empty where they passed."""
    report = tmp_path_factory.mktemp("mesh") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *FILES]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failed = found.setdefault(case.get("name").partition("[")[0], [])
        failed += [f"{case.get('name')}: {part.text}" for part in case]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_on_eight_devices(name, outcomes):
    assert outcomes[name] == [], "\n".join(outcomes[name])
