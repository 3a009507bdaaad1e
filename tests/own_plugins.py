"""Plug-in files for tests, and a context that forgets what they registered."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

from egnas_jax.cli.main import main
from egnas_jax.runs import plugins

FOLDER = pathlib.Path(__file__).parent / "plugins"
CONSTANT_METHOD = FOLDER / "constant_method.py"
RESEARCH_FORK = FOLDER / "research_fork.py"
FORK_PRESETS = FOLDER / "fork_presets.py"

# `egnas` that ends as by `kill -9` once the metrics of epoch 1 are written
KILLED_IN_EPOCH_1 = """
import os
import signal
import sys

from egnas_jax.cli.main import main
from egnas_jax.storage import records

append = records.append


def append_and_end(path, record):
    append(path, record)
    if record["epoch"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)


records.append = append_and_end
sys.exit(main())
"""


def egnas(*arguments) -> int:
    """Runs a command as a process of its own would, as far as plug-ins go."""
    with as_in_a_new_process():
        return main([str(argument) for argument in arguments])


def run_until_killed(*arguments) -> None:
    """Runs a command in a process that is killed in its second epoch."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_IN_EPOCH_1, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@contextlib.contextmanager
def as_in_a_new_process():
    """Context in which no plug-in is loaded; at its end none of its own is left."""
    tables = plugins._tables()
    before = {kind: plugins._snapshot(table) for kind, table in tables.items()}
    loaded, path = dict(plugins._LOADED), list(sys.path)
    plugins._LOADED.clear()
    try:
        yield
    finally:
        for kind, table in tables.items():
            plugins._restore(table, before[kind])
        for plugin in plugins._LOADED.values():
            plugins._forget_modules(plugin.source)
        plugins._LOADED.clear()
        plugins._LOADED.update(loaded)
        sys.path[:] = path
