"""A signal ends a command with exit code 130, wherever the command is."""

import signal
import subprocess
import sys

import pytest

from egnas_jax.cli import main, names
from egnas_jax.storage import claims

# As the compilation of programs: the pool waits for its thread, also after an error.
COMPILING = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from egnas_jax.cli import interruption, main, names

interruption.PATIENCE = 0.5

def command(options):
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(time.sleep, 60)
        print("compiling", flush=True)
        future.result()

names.list_names = command
sys.exit(main.main(["list"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_ends_with_130(number, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(
        names, "list_names", lambda options: signal.raise_signal(number)
    )
    assert main.main(["list"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert signal.getsignal(number) == before


def test_a_signal_ends_a_command_that_waits_for_a_compiler():
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "every checkpoint so far is whole" in error


CLAIMING = """
import pathlib
from egnas_jax.storage.claims import CLAIMED, Claim, add_event

folder = pathlib.Path(sys.argv[1])
assert add_event(folder, 1, CLAIMED, {})
"""


def test_a_worker_that_waits_for_a_compiler_gives_its_unit_back(tmp_path):
    code = COMPILING.replace("def command", f"{CLAIMING}\ndef command")
    pool = "with ThreadPoolExecutor(1) as pool:"
    code = code.replace(pool, f"with Claim(folder, 1).beating(0.1), {pool[5:]}")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "compiling\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    kinds = [event.kind for event in claims.read_events(tmp_path)]
    assert kinds == [claims.CLAIMED, claims.RELEASED]
