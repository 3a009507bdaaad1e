"""Records of experiments become docs/results.md."""

import importlib
import json
import pathlib
import re

import pytest

from egnas_jax.storage import records
from egnas_jax.studies.report.page import Figure

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return importlib.import_module("results")


def test_a_check_fails_on_a_changed_document_and_writes_nothing(
    results, tmp_path, monkeypatch
):
    document = tmp_path / "document.md"
    monkeypatch.setattr(results, "DOCUMENT", document)
    document.write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    results.main([])
    results.main(["--check"])
    changed = document.read_text().replace("## ", "## Not ", 1)
    document.write_text(changed)
    with pytest.raises(SystemExit, match="document.md is not what the records give"):
        results.main(["--check"])
    assert document.read_text() == changed


@pytest.mark.parametrize(
    "words, said",
    [
        (["--check", "add"], "--check writes nothing"),
        (["add"], "no run"),
    ],
)
def test_a_record_is_not_added_by_a_check_or_without_runs(
    words, said, results, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    options = "--title T --claim C --command X".split()
    with pytest.raises(SystemExit) as ended:
        results.main([*words, "name", str(tmp_path / "typo"), *options])
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
    assert said in capsys.readouterr().err.partition("error:")[2]


def test_an_unfinished_run_is_in_no_record(results, tmp_path):
    for name, planned in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        line = {"epoch": 0, "valid_accuracy": 0.5, "seconds": 2.0}
        records.append(tmp_path / name / "metrics.jsonl", line)
        records.write_json(tmp_path / name / "config.json", {"epochs": planned})
    with pytest.raises(ValueError, match="Not ended: b"):
        results.of_runs([str(tmp_path)], "T", "C", "run")
    made = results.of_runs([str(tmp_path / "a")], "T", "C", "run")
    assert made["rows"][0][1]["n"] == 1


def test_every_figure_of_the_document_exists(results):
    text = results.DOCUMENT.read_text()
    paths = re.findall(r"!\[[^]]*\]\((.*)\)", text)
    assert len(paths) >= 2
    for path in paths:
        assert (results.DOCUMENT.parent / path).is_file()


RECORD = {
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
        ["f", -0.04],  # rounds to zero, which has no sign
    ],
}
READ = RECORD | {"figure": None}  # as it is read


def test_a_record_becomes_a_table_and_a_figure(results):
    text = results.section([READ])
    assert "![" not in text
    with_figure = results.section(
        [RECORD | {"figure": "x.svg", "caption": "Above: x."}]
    )
    assert "![A title](../experiments/results/x.svg)\n\nAbove: x.\n" in with_figure
    assert "| a\\|b | 2.3 ± 0.1 (n = 3) |" in text
    assert "| c | 1.2 |" in text and "| d | 4.0 (n = 1) |" in text
    assert "| e | - |" in text and "| f | 0.0 |" in text
    assert "`run it`; cpu, 2026-11-25, 1,234 s." in text


def test_only_the_section_is_rewritten_and_broken_records_are_named(results, tmp_path):
    text = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
    new = results.rewritten(text, [READ])
    assert new.startswith("before\n") and new.endswith("\nafter\n")
    assert "old" not in new and results.rewritten(new, [READ]) == new
    with pytest.raises(ValueError, match="once each"):
        results.rewritten("nothing", [READ])
    path = tmp_path / "x.json"
    for broken, told in (
        (RECORD | {"rows": [["a"]]}, "2 columns"),
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
    assert set(made) == set(results.FIELDS.split())


def test_a_record_replaces_another_with_its_figure(results, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    (tmp_path / "results").mkdir()
    table = {
        key: RECORD[key]
        for key in ("title", "claim", "command", "seconds", "columns", "rows", "note")
    }
    figure = Figure("x", "X", "Below it.", "<svg/>", "a,b")
    own = tmp_path / "x.json"
    results.write(own, table, {}, "y", figure)
    (read,) = results.read_records(tmp_path / "results")
    assert (read["figure"], read["caption"]) == ("y.svg", "Below it.")
    assert own.with_suffix(".svg").read_text() == "<svg/>"
    assert (tmp_path / "results" / "y.csv").read_text() == "a,b"
    results.write(own, table, {}, "y")
    (read,) = results.read_records(tmp_path / "results")
    assert (read["figure"], read["caption"]) == (None, None)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "x-details.json",
        "x.json",
        "y.json",
    ]
