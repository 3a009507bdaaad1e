"""Plug-in files for tests, and a context that forgets what they registered."""

import contextlib
import pathlib
import sys

from egnas_jax.runs import plugins

CONSTANT_METHOD = pathlib.Path(__file__).parent / "plugins" / "constant_method.py"


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
