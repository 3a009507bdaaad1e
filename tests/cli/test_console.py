"""What commands print, in any encoding."""

import io
import sys

import jax
import pytest

from egnas_jax.cli import console, main, names
from egnas_jax.storage import lock


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_characters_that_stdout_lacks_are_replaced(encoding, monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding, "strict"))
    text = "2.5 ± 0.1 τ \udcff"  # the last is of a file name that is not UTF-8
    monkeypatch.setattr(names, "list_names", lambda options: print(text))
    assert main.main(["list"]) == 0
    sys.stdout.flush()
    assert content.getvalue() == text.encode(encoding, "replace") + b"\n"


def test_a_closed_stdout_ends_no_command(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main.main(["list", "presets"]) == 0


@pytest.mark.parametrize("has_flock, limit", [(True, 2**30), (False, -1)])
def test_jax_limits_its_cache_only_where_it_can_lock(
    has_flock, limit, tmp_path, monkeypatch
):
    monkeypatch.setattr(lock, "has_flock", lambda folder: has_flock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before, settings = jax.config.jax_compilation_cache_dir, {}
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(jax.config, "update", settings.__setitem__)
            console.use_compilation_cache()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert settings == {
        "jax_compilation_cache_dir": str(tmp_path / "egnas_jax"),
        "jax_compilation_cache_max_size": limit,
    }


def test_a_process_without_stderr_runs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    console.make_printable()
    console.say("lost")
    assert capsys.readouterr().out == ""
    sys.stderr.close()
