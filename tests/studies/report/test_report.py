"""Reports of records: groups, figures, pages, and what is refused."""

import csv
import html.parser
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from egnas_jax.cli.main import main
from egnas_jax.plotting import line_style
from egnas_jax.storage import records
from egnas_jax.studies.report.curves import population_figure, search_figures
from egnas_jax.studies.report.runs import grouped, read_runs
from egnas_jax.studies.report.tables import (
    comparison_table,
    final,
    outcome_table,
    run_table,
)


def labels(folders):
    return {
        group.label: [run.seed for run in group.runs]
        for group in grouped(read_runs([str(f) for f in folders]))
    }


def settings(seed, sign="paper", name="egnas"):
    return {
        "seed": seed,
        "strategy_name": name,
        "strategy": {"sign": sign},
        "data": {"digest": f"of seed {seed}"},
    }


def test_runs_are_grouped_by_the_settings_in_which_they_differ(write_run):
    folders = [
        write_run(f"r{i}", settings=settings(*given))
        for i, given in enumerate([(1,), (0,), (0, "off"), (0, "x", "darts")])
    ]
    assert labels(folders) == {
        "egnas, sign=paper": [0, 1],
        "egnas, sign=off": [0],
        "darts": [0],
    }


def test_without_configurations_runs_are_grouped_by_their_folders(write_run):
    folders = [write_run(name) for name in ("a-seed10", "a-seed2", "b/seed0", "c")]
    assert labels(folders) == {"a": [2, 10], "b": [0], "c": [None]}
    # a folder of several seeds, and a file, are runs too
    assert labels([folders[2].parent, folders[3] / "metrics.jsonl"]) == {
        "b": [0],
        "c": [None],
    }


def test_a_figure_holds_seeds_and_their_mean_and_spread(write_run):
    for seed, better in ((0, 0.0), (1, 0.2)):
        write_run(f"a/seed{seed}", epochs=2, better=better)
    runs = read_runs([str(write_run("b", epochs=2).parent / "a")])
    figures = {figure.name: figure for figure in search_figures(grouped(runs))}
    rows = {
        (row.run, row.x): row.y
        for row in figures["curves"].rows
        if row.panel == "valid_accuracy"
    }
    assert rows["seed0", 1] == pytest.approx(0.45)
    assert rows["mean", 1] == pytest.approx(0.55)
    # the standard deviation of two values is their distance over sqrt 2
    assert rows["mean + sd", 1] == pytest.approx(0.55 + 0.2 / 2**0.5)
    assert "eigenvalue" not in figures


def test_cost_and_population_are_reckoned_by_hand(write_run, search_line):
    def line(epoch, seed):
        made = search_line(epoch, seed)
        return made | {"population_accuracy_median": 0.1 * (1 + seed) ** 2}

    for seed in (0, 1):
        folder = write_run(f"a/seed{seed}", epochs=3, make=line, seed=seed)
    groups = grouped(read_runs([str(folder.parent)]))
    figures = {figure.name: figure for figure in search_figures(groups)}
    minutes = [
        row.x
        for row in figures["cost"].rows
        if (row.panel, row.run) == ("accuracy", "seed1")
    ]
    assert minutes == pytest.approx([4 / 60, 8 / 60, 12 / 60])
    medians = [
        row.y
        for row in population_figure(groups).rows
        if (row.panel, row.run) == ("accuracy", "median")
    ]
    assert medians == pytest.approx([0.25] * 3)  # of 0.1 and 0.4


def test_unfinished_runs_are_named_and_compared_with_none(write_run):
    """Forks of 4 epochs, and the warm starts of 2 that they began with."""
    for seed in (0, 1):
        for name, epochs in (("warm", 2), ("fork", 4)):
            given = settings(seed, sign=name) | {"epochs": 4}
            folder = write_run(
                f"{name}-{seed}", epochs=epochs, settings=given, seed=seed
            )
        write_run(
            f"other-{seed}",
            epochs=4,
            settings=settings(seed) | {"epochs": 4},
            seed=seed,
            better=0.1 + 0.01 * seed,
        )
    groups = grouped(read_runs([str(folder.parent)]))
    told = outcome_table(groups, "Accuracy").note
    assert "warm-0 has 2 of 4 epochs; warm-1 has 2 of 4 epochs" in told
    assert "fork" not in told
    (row,) = comparison_table(groups).rows
    assert {row[0], row[1]} == {"egnas, sign=fork", "egnas, sign=paper"}
    # what was altered tells nothing
    altered = groups[0].runs[0]._replace(settings={"epochs": "many"})
    assert (altered.planned, altered.unfinished) == (None, False)


def test_the_cells_shown_are_those_of_the_best_seed(write_run, tmp_path):
    for seed, better in ((0, 0.0), (1, 0.2), (2, 0.1)):
        folder = write_run(f"a/seed{seed}", epochs=2, better=better)
    command = ["report", str(folder.parent), "--out", str(tmp_path / "report")]
    assert main(command) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Of the best run by validation accuracy, seed1:" in text


class Page(html.parser.HTMLParser):
    """Every address that a page names, and tags that were not closed."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for name, v in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def reported(one_report, tmp_path):
    """A copy of the report, its runs beside it."""
    shutil.copytree(one_report, tmp_path, dirs_exist_ok=True)
    return tmp_path / "report"


def test_the_page_needs_no_other_file_and_markdown_links_those_there_are(
    reported, search_line
):
    page = (reported / "report.html").read_text()
    parsed = Page(page)
    assert not parsed.open and len(parsed.addresses) > 10
    assert all(address.startswith("data:") for address in parsed.addresses)
    assert "x&lt;&amp;|y" in page and "x<&|y" not in page
    text = (reported / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10 and all((reported / link).is_file() for link in links)
    assert "| 4.33" not in text and "10.00" in text  # 0.3 / 3 is 10.00 % test error
    for path in reported.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert (reported / f"{path.stem}.csv").is_file()
    with open(reported / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == {"x<&|y", "b"}
    row = next(
        r
        for r in rows
        if (r["panel"], r["group"], r["x"]) == ("valid_accuracy", "b", "2")
    )
    assert float(row["y"]) == search_line(1, better=0.1)["valid_accuracy"]


def test_a_report_is_replaced_and_the_same_records_give_the_same_bytes(
    reported, tmp_path, capsys
):
    before = {path.name: path.read_bytes() for path in reported.iterdir()}
    runs = tmp_path / "runs"
    same = [str(runs / name) for name in ("x<&|y/seed0", "b/seed0", "net/seed0")]
    assert main(["report", *same, "--out", str(reported)]) == 0
    assert capsys.readouterr().out.strip() == str(reported / "report.html")
    assert {path.name: path.read_bytes() for path in reported.iterdir()} == before
    assert main(["report", same[2], "--out", str(reported)]) == 0
    assert {path.name for path in reported.iterdir()} == {
        "report.html",
        "report.md",
        "report.json",
        "retraining.svg",
        "retraining.csv",
    }


def refused(capsys, *arguments):
    assert main(["report", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_what_cannot_be_reported_is_refused(write_run, tmp_path, capsys):
    out = tmp_path / "out"
    run = write_run("a")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert "holds no run" in refused(capsys, other, "--out", out)
    assert "holds no report" in refused(capsys, run, "--out", other)
    assert (other / "thesis.txt").read_text() == "mine"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for second, told in (
        ("{", "not a JSON object"),
        (lines[2], "record of epoch 1"),
        ('{"epoch": 1}', "neither valid_accuracy"),
    ):
        text = "\n".join([lines[0], second, lines[2], ""])
        (run / "metrics.jsonl").write_text(text)
        error = refused(capsys, run, "--out", out)
        assert "Line 2 of" in error and told in error
    (run / "metrics.jsonl").write_text("")
    assert "no finished epoch" in refused(capsys, run, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    "altered",
    [
        {"valid_accuracy": "0.5"},
        {"valid_accuracy": True},
        {"seconds": [1]},
        {"genotype": "Genotype"},
        {"genotype": 3},
        {"genotype": ""},
        {"early_stop": 7},
        {"early_stop": None},
        {"early_stop": 1.0},
    ],
)
def test_an_altered_line_is_named(altered, write_run, search_line, tmp_path, capsys):
    def make(epoch):
        return search_line(epoch) | (altered if epoch == 1 else {})

    folder = write_run("a", make=make)
    said = refused(capsys, folder, "--out", tmp_path / "out")
    assert f"Line 2 of {folder}/metrics.jsonl was altered" in said
    assert not (tmp_path / "out").exists()


def test_figures_that_are_no_numbers_count_as_not_recorded(write_run):
    folder = write_run("mean", epochs=1)  # named as the rows of means are
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 1, "valid_accuracy": NaN, "seconds": null}\n')
    (run,) = runs = read_runs([str(folder)])
    assert run.name == "runs/mean" and final(run) == run.lines[0]["valid_accuracy"]
    figures = {figure.name: figure.rows for figure in search_figures(grouped(runs))}
    assert "cost" not in figures  # of the seconds one is missing
    assert {row.run for row in figures["curves"]} == {"runs/mean"}


def test_skips_and_poolings_of_an_only_cell_are_in_the_table(write_run):
    def make(epoch):
        return {"epoch": epoch, "valid_accuracy": 0.5, "skip_cell": 3, "pool_cell": 1}

    (row,) = run_table(grouped(read_runs([str(write_run("a", make=make))]))).rows
    assert row[-3:-1] == ("3", "1")


def test_the_cell_of_a_search_that_was_stopped_is_the_one_it_returns(write_run):
    def make(epoch):
        line = {"epoch": epoch, "valid_accuracy": 0.1 * epoch, "skip_cell": epoch + 1}
        return line | ({"early_stop": 1} if epoch == 2 else {})

    (run,) = runs = read_runs([str(write_run("a", make=make))])
    (row,) = run_table(grouped(runs)).rows
    assert row[-4:] == ("10.00", "2", "-", "epoch 2") and final(run) == 0.1


def test_means_over_unlike_runs_say_so(write_run):
    folders = [
        write_run(*given[:2], settings(given[2]))
        for given in (("a", 3, 0), ("b", 3, 1), ("cut", 1, 2))
    ]
    read = read_runs([str(folder) for folder in folders])
    note = outcome_table(grouped(read[:2]), "x").note
    assert "not as long" not in note and "more than once" not in note
    note = outcome_table(grouped([*read, read[0]._replace(name="copy")]), "x").note
    assert "cut has 1 of 3 epochs." in note
    assert "seed 0 of" in note and "seed 1 of" not in note


def test_a_list_of_files_that_leads_out_of_the_report_removes_nothing(
    reported, tmp_path
):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    records.write_json(reported / "report.json", {"files": ["../kept.txt"]})
    run = str(tmp_path / "runs" / "net" / "seed0")
    assert main(["report", run, "--out", str(reported)]) == 0
    assert kept.exists()


def test_records_of_an_earlier_version_give_what_they_hold(
    write_run, search_line, tmp_path
):
    def old(epoch):
        line = search_line(epoch)
        return {name: line[name] for name in ("epoch", "train_loss", "valid_accuracy")}

    out = tmp_path / "out"
    assert main(["report", str(write_run("old", make=old)), "--out", str(out)]) == 0
    names = {path.stem for path in out.glob("*.svg")}
    assert names == {"curves"}


def test_no_two_lines_of_a_picture_look_alike():
    assert len({str(line_style(index)) for index in range(35)}) == 35
