"""Records of experiments become the section of results in the document."""

import importlib
import json
import pathlib

import pytest

from egnas_jax.storage import records
from egnas_jax.studies.report.page import Figure

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return importlib.import_module("results")


def test_a_check_fails_on_a_changed_document_and_writes_nothing(
    results, tmp_path, monkeypatch, capsys
):
    document = tmp_path / "docs.md"
    monkeypatch.setattr(results, "DOCUMENT", document)
    document.write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    assert results.main([]) == 0
    assert results.main(["--check"]) == 0
    changed = document.read_text().replace("### ", "### Not ", 1)
    document.write_text(changed)
    assert results.main(["--check"]) == 1
    assert "docs.md are not those of experiments/results" in capsys.readouterr().err
    assert document.read_text() == changed


FOUND = {
    "title": "A title",
    "claim": "A claim.",
    "command": "run it",
    "machine": "cpu",
    "date": "2026-11-25",
    "seconds": 1234.5,
    "note": "A note.",
    "caption": None,
    "columns": ["method", {"name": "error", "decimals": 1}],
    "rows": [
        ["a|b", {"mean": 2.345, "spread": 0.06, "n": 3}],
        ["c", 1.25],
        ["d", {"mean": 4.0, "spread": None, "n": 1}],
        ["e", None],
    ],
}
SHOWN = FOUND | {"picture": None}  # as it is read


def test_a_record_becomes_a_table(results, monkeypatch):
    monkeypatch.setattr(results, "DOCUMENT", ROOT / "docs" / "results.md")
    text = results.section([SHOWN])
    assert "![" not in text
    pictured = results.section([FOUND | {"picture": "x.svg", "caption": "Above: x."}])
    assert "![A title](../experiments/results/x.svg)\n\nAbove: x.\n" in pictured
    assert "| a\\|b | 2.3 ± 0.1 (n = 3) |" in text
    assert "| c | 1.2 |" in text and "| d | 4.0 (n = 1) |" in text
    assert "| e | - |" in text
    assert "`run it`; cpu, 2026-11-25, 1,234 s." in text


def test_only_the_section_is_rewritten_and_broken_records_are_named(results, tmp_path):
    text = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
    new = results.rewritten(text, [SHOWN])
    assert new.startswith("before\n") and new.endswith("\nafter\n")
    assert "old" not in new and results.rewritten(new, [SHOWN]) == new
    with pytest.raises(ValueError, match="once each"):
        results.rewritten("nothing", [SHOWN])
    path = tmp_path / "x.json"
    for broken, told in (
        (FOUND | {"rows": [["a"]]}, "2 columns"),
        ({"title": ""}, "lacks or adds: caption"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=told):
            results.read_records(tmp_path)


def test_a_record_of_runs_holds_their_figures(results, tmp_path):
    for seed, accuracies in ((0, (0.1, 0.5)), (1, (0.2, 0.7))):
        folder = tmp_path / f"a-seed{seed}"
        folder.mkdir()
        for epoch, accuracy in enumerate(accuracies):
            line = {"epoch": epoch, "valid_accuracy": accuracy, "seconds": 2.0}
            records.append(folder / "metrics.jsonl", line)
        records.write_json(
            folder / "environment.json",
            {
                "device_kind": "cpu",
                "versions": {"jax": "0.10.2"},
                "time": f"2026-11-2{seed}T00:00:00+0000",
            },
        )
    made = results.of_runs([str(tmp_path)], "T", "C", "run")
    ((label, outcome, seconds),) = made["rows"]
    assert (label, seconds, outcome["n"]) == ("a", 8.0, 2)
    assert outcome["mean"] == pytest.approx(60.0)
    assert outcome["spread"] == pytest.approx(20 / 2**0.5)
    assert made["date"] == "2026-11-20 to 2026-11-21"
    assert made["machine"] == "cpu, jax 0.10.2"
    assert set(made) == results.FIELDS


def test_a_record_replaces_another_with_its_picture(results, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    (tmp_path / "results").mkdir()
    table = {
        key: FOUND[key]
        for key in ("title", "claim", "command", "seconds", "columns", "rows", "note")
    }
    picture = Figure("x", "X", "Below it.", "<svg/>", "a,b")
    own = tmp_path / "x.json"
    results.write(own, table, {}, "y", picture)
    (read,) = results.read_records(tmp_path / "results")
    assert (read["picture"], read["caption"]) == ("y.svg", "Below it.")
    assert own.with_suffix(".svg").read_text() == "<svg/>"
    assert (tmp_path / "results" / "y.csv").read_text() == "a,b"
    results.write(own, table, {}, "y")
    (read,) = results.read_records(tmp_path / "results")
    assert (read["picture"], read["caption"]) == (None, None)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "x-details.json",
        "x.json",
        "y.json",
    ]
