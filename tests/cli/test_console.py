"""What commands print, in any encoding."""

import io
import sys

import pytest

from egnas_jax.cli import main


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_characters_that_stdout_lacks_are_replaced(encoding, monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding, "strict"))
    text = "2.5 ± 0.1 τ \udcff"  # the last is of a file name that is not UTF-8
    monkeypatch.setattr(main, "_list", lambda options: print(text))
    assert main.main(["list"]) == 0
    sys.stdout.flush()
    assert content.getvalue() == text.encode(encoding, "replace") + b"\n"


def test_a_closed_stdout_ends_no_command(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main.main(["list", "presets"]) == 0
