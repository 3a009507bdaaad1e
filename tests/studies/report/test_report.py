"""Reports of finished runs: groups, figures, pages, and invalid input."""

import csv
import html.parser
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
from pytest import approx

from egnas_jax.cli.main import main
from egnas_jax.plotting import line_style
from egnas_jax.storage import records
from egnas_jax.studies.report.curves import population_figure, search_figures
from egnas_jax.studies.report.run_tables import (
    comparison_table,
    final,
    outcome_table,
    run_table,
)
from egnas_jax.studies.report.runs import grouped, read_runs


def read_groups(*folders):
    return grouped(read_runs([str(folder) for folder in folders]))


def seeds_by_label(*folders):
    groups = read_groups(*folders)
    return {group.label: [run.seed for run in group.runs] for group in groups}


def figures_by_name(groups):
    return {figure.name: figure for figure in search_figures(groups)}


def settings(seed, sign="paper", name="egnas", **more):
    return {
        "seed": seed,
        "strategy_name": name,
        "strategy": {"sign": sign},
        "data": {"digest": f"of seed {seed}"},
        **more,
    }


def test_runs_are_grouped_by_the_settings_in_which_they_differ(write_run):
    variants = [settings(1), settings(0), settings(0, "off"), settings(0, "x", "darts")]
    folders = [write_run(f"r{i}", settings=each) for i, each in enumerate(variants)]
    assert seeds_by_label(*folders) == {
        "egnas, sign=paper": [0, 1],
        "egnas, sign=off": [0],
        "darts": [0],
    }


def test_runs_without_configuration_are_grouped_by_their_folders(write_run):
    folders = [write_run(name) for name in ("a-seed10", "a-seed2", "b/seed0", "c")]
    assert seeds_by_label(*folders) == {"a": [2, 10], "b": [0], "c": [None]}


def test_a_folder_of_seeds_and_a_metrics_file_name_runs(write_run):
    seed, single = write_run("b/seed0"), write_run("c")
    groups = seeds_by_label(seed.parent, single / "metrics.jsonl")
    assert groups == {"b": [0], "c": [None]}


def test_a_figure_holds_seeds_and_their_mean_and_spread(write_run):
    for seed, better in ((0, 0.0), (1, 0.2)):
        folder = write_run(f"a/seed{seed}", epochs=2, better=better)
    figures = figures_by_name(read_groups(folder.parent))
    values = {
        (row.run, row.x): row.y
        for row in figures["curves"].rows
        if row.panel == "valid_accuracy"
    }
    assert values["seed0", 1] == pytest.approx(0.45)
    assert values["mean", 1] == pytest.approx(0.55)
    # the standard deviation of two values is their distance over sqrt 2
    assert values["mean + sd", 1] == pytest.approx(0.55 + 0.2 / 2**0.5)
    assert "eigenvalue" not in figures


def points(figure, panel, run):
    return [row for row in figure.rows if (row.panel, row.run) == (panel, run)]


def test_entropies_are_drawn_as_changes_since_the_first_epoch(write_run, search_line):
    """At their level, that of a search which hardly moves would hide the move."""

    def line(epoch, seed):
        late = {"entropy_reduce": None} if epoch == 0 else {}
        return search_line(epoch, seed) | late

    folder = write_run("a/seed1", seed=1, make=line)
    figure = figures_by_name(read_groups(folder))["entropy"]
    found = {
        panel: [(x, y) for *_, x, y in points(figure, panel, "seed1")]
        for panel in figure.panels
    }
    assert found["entropy_normal"] == [(1, 0.0), (2, approx(-0.1)), (3, approx(-0.2))]
    assert found["entropy_reduce"] == [(2, 0.0), (3, approx(-0.05))]
    assert "It begins at 1.85 to 1.9 nats." in figure.text


def test_a_controller_is_drawn_by_epochs(write_run, search_line):
    def line(epoch, seed):
        rewards = {"reward": 0.1 * epoch, "baseline": 0.05, "policy_entropy": 20.0}
        return search_line(epoch, seed) | rewards

    folder = write_run("a/seed1", seed=1, make=line)
    figure = figures_by_name(read_groups(folder))["controller"]
    assert list(figure.panels) == ["reward", "baseline", "policy_entropy"]
    drawn = [(row.x, row.y) for row in points(figure, "reward", "seed1")]
    assert drawn == [(1, 0.0), (2, approx(0.1)), (3, approx(0.2))]


def test_a_search_after_the_last_epoch_is_drawn_by_generations(write_run, search_line):
    def line(epoch, seed):
        course = {"front_size": None, "front_size_by_generation": None}
        if epoch == 2:
            course = {"front_size": 9.0, "front_size_by_generation": [3.0, None, 9.0]}
            course |= {"generation": [1.0, 6.0, 11.0]}
        return search_line(epoch, seed) | course

    folder = write_run("a/seed1", seed=1, make=line)
    figures = figures_by_name(read_groups(folder))
    assert "front" not in figures
    figure = figures["course"]
    assert figure.panels == {"front_size": ("generations", "cells of the front")}
    drawn = [(row.x, row.y) for row in points(figure, "front_size", "seed1")]
    assert drawn == [(1.0, 3.0), (11.0, 9.0)]


def test_searches_of_every_epoch_are_drawn_by_epochs_too(write_run, search_line):
    def line(epoch, seed):
        metrics = {"queue_fitness": 0.5, "swarm_speed": 1.0, "front_hypervolume": 0.9}
        return search_line(epoch, seed) | metrics

    figures = figures_by_name(read_groups(write_run("a/seed1", seed=1, make=line)))
    assert list(figures["front"].panels) == ["front_hypervolume"]
    state = figures["population_state"]
    assert list(state.panels) == ["queue_fitness", "swarm_speed"]
    assert len(points(state, "swarm_speed", "seed1")) == 3
    assert "course" not in figures


def test_the_cost_figure_has_minutes_of_all_epochs_so_far(write_run):
    folder = write_run("a/seed1", seed=1)  # an epoch takes 4 seconds
    rows = points(figures_by_name(read_groups(folder))["cost"], "accuracy", "seed1")
    assert [row.x for row in rows] == pytest.approx([4 / 60, 8 / 60, 12 / 60])


def test_the_population_figure_has_means_over_the_seeds(write_run, search_line):
    def line(epoch, seed):
        median = 0.1 * (1 + seed) ** 2
        return search_line(epoch, seed) | {"population_accuracy_median": median}

    for seed in (0, 1):
        folder = write_run(f"a/seed{seed}", make=line, seed=seed)
    figure = population_figure(read_groups(folder.parent))
    rows = points(figure, "accuracy", "median")
    assert [row.y for row in rows] == pytest.approx([0.25] * 3)  # of 0.1 and 0.4


def test_unfinished_runs_are_named_and_left_out_of_comparisons(write_run):
    for seed in (0, 1):
        for name, epochs, better in (
            ("warm", 2, 0.0),
            ("fork", 4, 0.0),
            ("other", 4, 0.1 + 0.01 * seed),
        ):
            options = dict(settings=settings(seed, sign=name, epochs=4), seed=seed)
            folder = write_run(f"{name}-{seed}", epochs, better=better, **options)
    groups = read_groups(folder.parent)
    note = outcome_table(groups, "Accuracy").note
    assert "warm-0 has 2 of 4 epochs; warm-1 has 2 of 4 epochs" in note
    assert "fork" not in note
    (row,) = comparison_table(groups).rows
    assert {row[0], row[1]} == {"egnas, sign=fork", "egnas, sign=other"}


def test_costs_are_sums_over_epochs_and_means_over_seeds(write_run, search_line):
    for seed in (0, 1):

        def line(epoch, seed=seed, **options):
            costs = {"weight_cost": 3000, "search_cost": 100.0 * (epoch + seed)}
            return search_line(epoch, seed, **options) | costs

        folder = write_run(f"a-seed{seed}", make=line)
    write_run("older", epochs=2)
    table = outcome_table(read_groups(folder.parent), "x")
    assert table.header[-2:] == ("cost of the weights", "cost of the choice")
    # three epochs: 0 + 100 + 200, and 300 more of the second seed
    costs = {row[0]: row[-2:] for row in table.rows}
    assert costs["a"] == ("9,000", "450") and costs["older"] == ("-", "-")
    assert "counts 3" in table.note


def test_methods_in_the_style_of_a_system_are_called_so(write_run, tmp_path):
    def settings_of(name, space):
        supernet = {"space": space}
        return {"seed": 0, "strategy_name": name, "supernet": supernet, "epochs": 3}

    folder = write_run("a", settings=settings_of("nasnet_ppo", "darts7"))
    write_run("b", settings=settings_of("epcnas_pso", "nasbench201"))
    write_run("c", settings=settings_of("enas", "darts7"))
    groups = read_groups(folder.parent)
    names = [
        "NASNet-A-style (PPO) on the DARTS space",
        "EPCNAS-style PSO on the space nasbench201",
        "enas",
    ]
    assert [group.label for group in groups] == names
    table = run_table(groups)
    assert table.header[3] == "method" and [row[3] for row in table.rows] == names
    out = tmp_path / "report"
    assert main(["report", str(folder.parent), "--out", str(out)]) == 0
    drawings = [(out / f"cells_{number}.svg").read_text() for number in (1, 2, 3)]
    for name, drawing in zip(names, drawings, strict=True):
        assert (f">Found by {name}<" in drawing) == (name != "enas")


def test_an_altered_number_of_epochs_is_ignored(write_run):
    folder = write_run("a", settings=settings(0, epochs="many"))
    (run,) = read_runs([str(folder)])
    assert (run.planned, run.unfinished) == (None, False)


def test_the_cells_in_a_report_are_those_of_the_best_seed(write_run, tmp_path):
    for seed, better in ((0, 0.0), (1, 0.2), (2, 0.1)):
        folder = write_run(f"a/seed{seed}", epochs=2, better=better)
    command = ["report", str(folder.parent), "--out", str(tmp_path / "report")]
    assert main(command) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Of the best run by validation accuracy, seed1:" in text


class Page(html.parser.HTMLParser):
    """Every address in a page, and the tags that are not closed."""

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
def report(report_root, tmp_path):
    """A copy of the report, with its runs in the folder runs beside it."""
    shutil.copytree(report_root, tmp_path, dirs_exist_ok=True)
    return tmp_path / "report"


def test_the_html_page_needs_no_other_file(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    assert not page.open and len(page.addresses) > 10
    assert all(address.startswith("data:") for address in page.addresses)
    assert "x&lt;&amp;|y" in text and "x<&|y" not in text


def test_markdown_links_to_existing_files(report):
    text = (report / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10 and all((report / link).is_file() for link in links)
    assert "| 4.33" not in text and "10.00" in text  # 0.3 / 3 is 10.00 % test error


def test_every_figure_has_its_points_in_a_csv_file(report, search_line):
    for path in report.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert (report / f"{path.stem}.csv").is_file()
    with open(report / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == {"x<&|y", "b"}
    (value,) = [
        float(row["y"])
        for row in rows
        if (row["panel"], row["group"], row["x"]) == ("valid_accuracy", "b", "2")
    ]
    assert value == search_line(1, better=0.1)["valid_accuracy"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_records_give_the_same_bytes(report, capsys):
    before = contents(report)
    runs = [str(report.parent / "runs" / n) for n in ("x<&|y/seed0", "b/seed0", "net")]
    assert main(["report", *runs, "--out", str(report)]) == 0
    assert capsys.readouterr().out.strip() == str(report / "report.html")
    assert contents(report) == before


def test_a_new_report_replaces_the_files_of_the_earlier_one(report):
    run = report.parent / "runs" / "net" / "seed0"
    assert main(["report", str(run), "--out", str(report)]) == 0
    files = {"report.html", "report.md", "report.json"}
    assert set(contents(report)) == files | {"retraining.svg", "retraining.csv"}


def refused(capsys, *arguments):
    """The message with which `egnas report` refuses its arguments."""
    assert main(["report", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_the_runs_of_a_sweep_are_found_below_their_settings(write_run, tmp_path):
    folders = [write_run(f"sweep/eta={eta}/seed0") for eta in (0.2, 0.4)]
    names = [run.name for run in read_runs([str(folders[0].parents[1])])]
    assert len(names) == 2 and "eta=0.2" in names[0] and "eta=0.4" in names[1]


def test_folders_without_runs_and_folders_with_other_files_are_refused(
    write_run, tmp_path, capsys
):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert "holds no run" in refused(capsys, other, "--out", tmp_path / "out")
    assert "holds no report" in refused(capsys, write_run("a"), "--out", other)
    assert (other / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "second, message",
    [
        ("{", "not a JSON object"),
        ('{"epoch": 2, "valid_accuracy": 0.5}', "record of epoch 1"),
        ('{"epoch": 1}', "neither valid_accuracy"),
    ],
)
def test_an_invalid_line_is_named(second, message, write_run, tmp_path, capsys):
    run, out = write_run("a"), tmp_path / "out"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], second, lines[2], ""]))
    error = refused(capsys, run, "--out", out)
    assert "Line 2 of" in error and message in error
    assert not out.exists()


def test_a_run_without_a_finished_epoch_is_refused(write_run, tmp_path, capsys):
    run = write_run("a", epochs=1)
    (run / "metrics.jsonl").write_text("")
    assert "no finished epoch" in refused(capsys, run, "--out", tmp_path / "out")


def test_runs_that_ended_before_their_first_epoch_are_named(write_run, tmp_path):
    write_run("all/seed0", settings={"seed": 0})
    write_run("all/seed1", epochs=0, settings={"seed": 1})
    out, runs = tmp_path / "out", tmp_path / "runs"
    assert main(["report", str(runs), "--out", str(out)]) == 0
    for name in ("report.md", "report.html"):
        text = (out / name).read_text()
        assert "Runs without a finished epoch" in text
        assert "a loss that was not finite: all/seed1." in text
    assert main(["report", str(runs / "all/seed0"), "--out", str(out)]) == 0
    assert "without a finished epoch" not in (out / "report.md").read_text()


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
    message = refused(capsys, folder, "--out", tmp_path / "out")
    assert f"Line 2 of {folder}/metrics.jsonl was altered" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_an_altered_configuration_is_named(name, write_run, tmp_path, capsys):
    folder = write_run("a")
    (folder / name).write_text("[1]")
    message = refused(capsys, folder, "--out", tmp_path / "out")
    assert f"{folder / name} cannot be read" in message
    assert "metrics.jsonl is enough" in message


@pytest.mark.parametrize("kind", ["search", "retrain"])
def test_runs_that_recorded_nothing_finite_give_a_page_without_curves(
    kind, write_run, search_line, retrain_line, tmp_path
):
    make = {"search": search_line, "retrain": retrain_line}[kind]
    kept = ("epoch", "learning_rate", "digest")

    def broken(epoch, seed):
        line = make(epoch, seed)
        return {name: line[name] if name in kept else None for name in line} | (
            {"genotype": line["genotype"]} if kind == "search" else {}
        )

    for seed in (0, 1):
        folder = write_run(f"a/seed{seed}", epochs=1, make=broken, seed=seed)
    out = tmp_path / "report"
    assert main(["report", str(folder.parent), "--out", str(out)]) == 0
    assert "| seed0 | " in (out / "report.md").read_text()
    assert not (out / "curves.svg").exists()


def test_runs_that_ended_before_an_epoch_are_called_so(write_run, tmp_path, capsys):
    """A loss that is not finite in the first epoch leaves no metrics.jsonl."""
    folder = write_run("a/seed0", epochs=0, settings=settings(0))
    for place in (folder, folder.parent):
        assert main(["report", str(place), "--out", str(tmp_path / "report")]) == 2
        assert "no run with a finished epoch" in capsys.readouterr().err


def test_metrics_that_are_not_finite_count_as_not_recorded(write_run):
    folder = write_run("mean", epochs=1)  # a name of a summary line, which is taken
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 1, "valid_accuracy": NaN, "seconds": null}\n')
    groups = read_groups(folder)
    (run,) = groups[0].runs
    assert run.name == "runs/mean" and final(run) == run.lines[0]["valid_accuracy"]
    figures = figures_by_name(groups)
    assert "cost" not in figures  # the seconds of one epoch are missing
    assert {row.run for row in figures["curves"].rows} == {"runs/mean"}


def test_skips_and_poolings_of_an_only_cell_are_in_the_table(write_run):
    def make(epoch):
        return {"epoch": epoch, "valid_accuracy": 0.5, "skip_cell": 3, "pool_cell": 1}

    (row,) = run_table(read_groups(write_run("a", make=make))).rows
    assert row[-3:-1] == ("3", "1")


def test_a_search_that_stopped_early_is_shown_by_the_cell_it_returns(write_run):
    def make(epoch):
        line = {"epoch": epoch, "valid_accuracy": 0.1 * epoch, "skip_cell": epoch + 1}
        return line | ({"early_stop": 1} if epoch == 2 else {})

    groups = read_groups(write_run("a", make=make))
    (row,) = run_table(groups).rows
    assert row[-4:] == ("10.00", "2", "-", "epoch 2")
    assert final(groups[0].runs[0]) == 0.1


def test_short_runs_and_repeated_seeds_are_noted_below_their_mean(write_run):
    folders = [
        write_run(name, epochs, settings(seed))
        for name, epochs, seed in (("a", 3, 0), ("b", 3, 1), ("cut", 1, 2))
    ]
    runs = read_runs([str(folder) for folder in folders])
    note = outcome_table(grouped(runs[:2]), "x").note
    assert "Shorter" not in note and "more than once" not in note
    note = outcome_table(grouped([*runs, runs[0]._replace(name="copy")]), "x").note
    assert "cut has 1 of 3 epochs." in note
    assert "seed 0 of" in note and "seed 1 of" not in note


@pytest.mark.parametrize("files", [["../kept.txt"], "kept.txt", [1]])
def test_an_altered_manifest_removes_no_other_file(files, report):
    kept = report.parent / "kept.txt"
    kept.write_text("mine")
    records.write_json(report / "report.json", {"files": files})
    run = str(report.parent / "runs" / "net" / "seed0")
    code = main(["report", run, "--out", str(report)])
    assert code == (0 if files == ["../kept.txt"] else 2)
    assert kept.exists()


def test_records_without_newer_metrics_give_the_figures_they_can(
    write_run, search_line, tmp_path
):
    def make(epoch):
        line = search_line(epoch)
        return {name: line[name] for name in ("epoch", "train_loss", "valid_accuracy")}

    run, out = write_run("old", make=make), tmp_path / "out"
    assert main(["report", str(run), "--out", str(out)]) == 0
    assert {path.stem for path in out.glob("*.svg")} == {"curves"}


def test_no_two_lines_of_a_figure_look_alike():
    assert len({str(line_style(index)) for index in range(35)}) == 35
