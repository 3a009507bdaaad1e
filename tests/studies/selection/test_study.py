"""`egnas select`: from a run to a table, genotypes, and a part of the report."""

import argparse
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_search
from untrained_runs import untrained_run

import egnas_jax as eg
from egnas_jax.cli.main import main
from egnas_jax.cli.select import OPTIONS, select_arguments
from egnas_jax.runs.data import load_run_data
from egnas_jax.runs.finished_search import load_search, valid_batches
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records
from egnas_jax.studies.report.runs import grouped, read_runs
from egnas_jax.studies.report.selection_table import selection_tables
from egnas_jax.studies.selection import score
from egnas_jax.studies.selection.cells import CellWeights, stacked
from egnas_jax.studies.selection.options import SelectionOptions
from egnas_jax.studies.selection.problem import space_of
from egnas_jax.studies.selection.score import PopulationScore, as_mixing
from egnas_jax.studies.selection.selectors import (
    SELECTORS,
    check_used,
    selector_names,
)
from egnas_jax.types import Evaluation

STAGES = Space(
    name="tiny_stages",
    primitives=("none", "skip_connect", "nor_conv_1x1"),
    num_nodes=2,
    num_inputs=1,
    derive="argmax",
    output="last",
    macro="nasbench201",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of an EG-NAS run of two epochs on digits."""
    folder = tmp_path_factory.mktemp("search") / "run"
    words = tiny_search.words(
        tiny_search.SETTINGS | {"epochs": 2, "supernet.layers": 2}
    )
    with tiny_search.registered_space():
        command = ["search", "--space", "tiny", "--json", *words, "--out"]
        assert main([*command, str(folder)]) == 0
        yield folder


def test_scores_are_means_over_batches_whatever_the_size_of_a_population(
    toy_net, toy_batch, random_cell
):
    space, variables = SPACES["darts7"], toy_net.init(jax.random.key(0))
    cells = stacked([random_cell(space, seed) for seed in range(17)])
    images = toy_batch.images.reshape(3, 8, 4, 4, 3)
    labels = toy_batch.labels.reshape(3, 8)
    evaluate = PopulationScore(toy_net, variables, images, labels, batch_stats="batch")
    expected = [
        evaluate_population(
            toy_net, variables, as_mixing(space, cells), *batch, batch_stats="batch"
        )
        for batch in zip(images, labels, strict=True)
    ]
    losses = [np.asarray(e.loss) for e in expected]
    accuracies = [np.asarray(e.accuracy) for e in expected]
    whole = evaluate(cells)
    np.testing.assert_allclose(whole.loss, np.mean(losses, axis=0), rtol=1e-6)
    np.testing.assert_allclose(whole.accuracy, np.mean(accuracies, axis=0), rtol=1e-6)
    assert len(set(np.round(whole.loss, 5))) > 5
    few = CellWeights(*(leaf[3:8] for leaf in cells))
    np.testing.assert_allclose(evaluate(few, 2).loss, losses[2][3:8], rtol=1e-6)
    assert evaluate.images_evaluated == 17 * 24 + 5 * 8


def test_candidates_with_equally_many_correct_answers_have_equal_accuracies(
    toy_net, random_cell, monkeypatch
):
    """In whatever batches the answers are; the last candidate has one more."""
    rng = np.random.default_rng(0)
    correct = np.array([rng.permutation(range(41, 51)) for _ in range(17)])
    correct[-1, 0] += 1
    rounded = np.mean(np.float32(correct) / np.float32(100), axis=1)
    assert len(set(rounded[:-1].tolist())) > 1  # as means of fractions of the batches

    def evaluate(net, variables, mixings, images, labels, **options):
        rows = mixings.edges["normal"][:, 0].astype(int)  # number of the candidate
        batch = int(images[0, 0, 0, 0])
        return Evaluation(
            np.zeros(len(rows), np.float32),
            correct[rows, batch].astype(np.int32),
            np.float32(correct[rows, batch]) / np.float32(100),
        )

    monkeypatch.setattr(score, "evaluate_population", evaluate)
    images = np.zeros((10, 100, 4, 4, 3)) + np.arange(10)[:, None, None, None, None]
    of_counts = PopulationScore(
        toy_net, {}, images, np.zeros((10, 100), int), batch_stats="batch"
    )
    cells = stacked([random_cell(SPACES["darts7"])] * 17)
    cells.edges[:] = np.arange(17)[:, None, None]
    accuracy = of_counts(cells).accuracy
    assert accuracy.tolist() == [455 / 1000] * 16 + [456 / 1000]


def test_names_of_selectors():
    assert selector_names("all") == tuple(SELECTORS)
    assert selector_names(["shapley", "argmax", "shapley"]) == ("shapley", "argmax")
    with pytest.raises(ValueError, match=r"Did you mean shapley\?"):
        selector_names("shaply")
    with pytest.raises(ValueError, match="No selector is named"):
        selector_names([])


BAD = {
    "no run": (["RUN/none"], "holds no run"),
    "selector": (["RUN", "--by", "perturb"], "Did you mean perturbation"),
    "no batches": (["RUN", "--batches", "0"], "batches is 0"),
    "no images": (["RUN", "--batch-size", "0"], "batch_size is 0"),
    "seeds": (["RUN", "--seeds", "0"], "seeds is 0"),
    "seed": (["RUN", "--seed", "-1"], "seed is -1"),
    "statistics": (["RUN", "--batch-stats", "some"], "one of batch, running"),
    "criterion": (["RUN", "--criterion", "time"], "one of accuracy, loss"),
    "value": (["RUN", "--value", "median"], "one of mean-std, mean"),
    "permutations": (["RUN", "--permutations", "0"], "permutations is 0"),
    "truncation": (["RUN", "--truncation", "1.5"], "truncation is 1.5"),
    "finetune": (["RUN", "--finetune", "-1"], "finetune is -1"),
    "unused training": (
        ["RUN", "--by", "shapley", "--finetune", "1"],
        "finetune is 1, but shapley would not use it. Leave it out, or add pert",
    ),
    "unused seeds": (
        ["RUN", "--by", "argmax", "--by", "local-search", "--seeds", "3"],
        "seeds is 3, but argmax and local-search would not use it. Leave it out, or "
        "add perturbation or shapley.",
    ),
    "unused permutations": (
        ["RUN", "--by", "perturbation", "--permutations", "20"],
        "permutations is 20, but perturbation would not use it",
    ),
    "unused truncation": (
        ["RUN", "--by", "argmax", "--truncation", "0"],
        "truncation is 0.0, but argmax would not use it. Leave it out, or add shapley",
    ),
    "unused value": (
        ["RUN", "--by", "leave-one-out", "--value", "mean"],
        "value is mean, but leave-one-out would not use it",
    ),
    "unused criterion": (
        ["RUN", "--by", "shapley", "--criterion", "loss"],
        "criterion is loss, but shapley would not use it. Leave it out, or add pert",
    ),
    "empty": (["RUN", "--out", ""], "--out is empty"),
    "only metrics": (["RUN"], "config.json"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_is_written(name, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    words, message = BAD[name]
    words = [word.replace("RUN", str(tmp_path)) for word in words]
    assert main(["select", *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_command_has_every_option_with_the_default_of_python():
    parser = argparse.ArgumentParser()
    select_arguments(parser)
    words = vars(parser.parse_args(["run"]))
    names = [field.name for field in dataclasses.fields(SelectionOptions)]
    assert sorted(OPTIONS) == sorted(names)
    assert SelectionOptions(**{name: words[name] for name in OPTIONS}) == (
        SelectionOptions()
    )


def test_options_are_taken_where_a_selector_uses_them():
    given = SelectionOptions(criterion="loss", seeds=3, permutations=20, finetune=1)
    check_used(tuple(SELECTORS), given)
    check_used(("argmax", "perturbation", "shapley"), given)
    check_used(("argmax",), SelectionOptions(batches=4, seed=3, batch_stats="running"))
    with pytest.raises(ValueError, match="permutations is 20, but argmax and pert"):
        check_used(("argmax", "perturbation"), given)


@pytest.mark.slow
def test_all_selectors_select_cells_that_others_read(run, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--batches", "3", "--seeds", "2", "--permutations", "3", "--json"]
    assert main(["select", str(run), *words, "--out", str(out)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "selection.json").read_text())
    rows = {row["selector"]: row for row in printed["selectors"]}
    assert tuple(rows) == tuple(SELECTORS)
    for name, row in rows.items():
        genotype = eg.read_genotype(out / f"selection_{name}.json")
        assert genotype.format() == row["genotype"]
        assert row["params"] == eg.count_params(genotype, eg.NetworkConfig())
        draws = SELECTORS[name].draws
        assert len(row["by_seed"]) == (2 if draws else 1)
        assert (row["seed_agreement"] is not None) == draws
        best = max(each["valid_accuracy"] for each in row["by_seed"])
        assert row["valid_accuracy"] == best
    first, second = rows["shapley"]["by_seed"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["trace"] != second["trace"]
    assert rows["argmax"]["genotype"] == eg.load_search(run).genotype.format()
    assert rows["argmax"]["candidate_images"] == 3 * 64
    # 12 primitives, of one batch each where permutations do not end early
    assert rows["leave-one-out"]["candidate_images"] == (1 + 12 + 1) * 3 * 64
    best = rows["local-search"]["valid_accuracy"]
    assert best >= rows["argmax"]["valid_accuracy"]
    assert len(printed["agreement"]) == 5 * 4 // 2
    assert "| perturbation |" in (out / "selection.md").read_text()
    assert not (run / "selection.json").exists()


@pytest.mark.slow
def test_a_later_call_keeps_the_cells_of_other_selectors(run, tmp_path):
    first = eg.select(run, by=["argmax", "leave-one-out"], batches=2, out=tmp_path)
    messages = []
    options = dict(batches=2, criterion="loss", out=tmp_path, log=messages.append)
    second = eg.select(run, by="local-search", **options)
    rows = second.result["selectors"]
    assert [row["selector"] for row in rows] == ["argmax", "local-search"]
    assert rows[0] == records.plain(first.result["selectors"][0])
    assert json.loads((tmp_path / "selection.json").read_text())["selectors"] == rows
    (pair,) = second.result["agreement"]
    assert (pair["first"], pair["second"]) == ("argmax", "local-search")
    assert messages[-1].startswith("Removed cells of leave-one-out")
    files = {path.name for path in tmp_path.glob("selection_*")}
    assert files == {f"selection_{name}.json" for name in second.genotypes}
    assert set(second.genotypes) == {"argmax", "local-search"}


@pytest.mark.slow
def test_importances_are_what_single_evaluations_give(run):
    found = eg.select(run, by="leave-one-out", batches=2, criterion="loss")
    search = load_search(run)
    images, labels = valid_batches(search, 2, 64, 0)
    space = SPACES["tiny"]
    alpha = jax.nn.softmax(np.stack([search.alpha[kind] for kind in space.kinds]))

    def loss(rows):
        cells = CellWeights(rows[None], np.ones((1, *rows.shape[:2])))
        batches = zip(images, labels, strict=True)
        losses = [
            evaluate_population(
                search.net,
                search.variables,
                as_mixing(space, cells),
                *batch,
                batch_stats="batch",
            ).loss[0]
            for batch in batches
        ]
        return float(np.mean(losses))

    rows = np.array(alpha)
    masked = rows.copy()
    masked[1, 0, 2] = 0.0
    (row,) = found.result["selectors"]
    importance = row["by_seed"][0]["trace"]["importance"]["reduce"][0][2]
    assert importance == pytest.approx(loss(masked) - loss(rows), abs=1e-5)
    assert abs(importance) > 1e-4


@pytest.mark.slow
def test_weights_are_trained_between_decisions_and_given_back(run):
    options = dict(batches=2, criterion="loss", seeds=2)
    (plain,) = eg.select(run, by="perturbation", **options).result["selectors"]
    by = "perturbation", "leave-one-out"
    study = eg.select(run, by=by, finetune=2, **options)
    tuned, importance = study.result["selectors"]
    # every seed begins with the weights of the run, and so does the next selector
    for first, second in zip(plain["by_seed"], tuned["by_seed"], strict=True):
        steps = first["trace"]["steps"], second["trace"]["steps"]
        assert steps[0][:2] == steps[1][:2]  # of both kinds of cells
    first, second = steps
    lower = [
        max(b["without"].values()) < min(a["without"].values())
        for a, b in zip(first[2:], second[2:], strict=True)
        if a["edge"] == b["edge"]
    ]
    assert lower and all(lower)  # what the supernet has learnt since
    # two edges a kind of cell, so one turn of training, for each seed
    assert tuned["trained_images"] == 2 * 2 * 640
    assert plain["trained_images"] == importance["trained_images"] == 0
    del options["seeds"]  # a selector that draws nothing has one
    (alone,) = eg.select(run, by="leave-one-out", **options).result["selectors"]
    assert alone["by_seed"] == importance["by_seed"]


@pytest.mark.slow
def test_a_result_in_memory_takes_the_arrays_of_its_search(run):
    search = load_search(run)
    data = load_run_data(search.config.data, None, search.config.seed)
    arrays = data.images, data.labels, data.test_images, data.test_labels
    options = dict(by=("argmax", "local-search"), batches=2, batch_stats="running")
    given = eg.select(search._replace(folder=None), data=arrays, **options)
    named = eg.select(search, **options)
    assert given.result["run"] is None
    for first, second in zip(
        given.result["selectors"], named.result["selectors"], strict=True
    ):
        assert first["by_seed"] == second["by_seed"]
    others = data.images[::-1], *arrays[1:]
    with pytest.raises(ValueError, match="are not those"):
        eg.select(search, data=others, **options)


@pytest.mark.slow
def test_runs_that_cannot_be_selected_from_are_refused(run, tmp_path, capsys):
    assert main(["select", str(run), "--batches", "12"]) == 2
    assert "719 validation images" in capsys.readouterr().err
    bare = shutil.copytree(run, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    assert main(["select", str(bare)]) == 2
    assert "holds no whole checkpoint" in capsys.readouterr().err
    for folder in (run, bare):
        assert not list(folder.glob("selection*"))


LIMIT = {"params": 10**7, "image_size": 8, "image_channels": 1}
LIVE = (((0, 1),) * 14,) * 2  # two primitives of each edge


@pytest.mark.parametrize(
    "name, settings, live, message",
    [
        (
            "egnas",
            {f"limit.{k}": v for k, v in LIMIT.items()},
            None,
            r"limits \(params",
        ),
        ("darts", {}, LIVE, "lacks most primitives"),
        (
            "random_search",
            {"fitness": "proxy:params"},
            None,
            "ranked cells by proxy:params, without a step of the weights",
        ),
    ],
)
def test_runs_that_selectors_cannot_judge_are_refused(name, settings, live, message):
    settings = {f"strategy.{path}": value for path, value in settings.items()}
    config = eg.search_config("digits", strategy=name, settings=settings)
    with pytest.raises(ValueError, match=f"^The run .*{message}"):
        eg.select(untrained_run(config, live=live))


def test_a_space_that_derives_by_a_function_is_refused(monkeypatch):
    def derive(space, mixing):
        raise AssertionError

    own = dataclasses.replace(SPACES["darts7"], name="own", derive=derive)
    monkeypatch.setitem(SPACES, "own", own)
    config = eg.search_config("digits", strategy="darts")
    run = untrained_run(config, space="own")
    with pytest.raises(ValueError, match="another cell than the one that is scored"):
        eg.select(run)


def test_a_method_that_keeps_all_edges_selects_so_too(random_cell):
    settings = {"strategy.derive": "edge_all"}
    config = eg.search_config("digits", strategy="snas", settings=settings)
    space = SPACES[config.supernet.space]
    assert space.keeps_two_edges
    own = space_of(config)
    assert not own.keeps_two_edges and own.layout() == space.layout()
    weights = random_cell(space)
    strategy = strategy_of(config)
    mixing = as_mixing(space, weights)
    assert eg.derive(own, mixing) == strategy.derive(mixing)
    two = eg.search_config(
        "digits", strategy="snas", settings={"strategy.derive": "two"}
    )
    assert space_of(two) == space


def strategy_of(config):
    _, make = eg.STRATEGIES[config.strategy_name]
    return make(eg.make_supernet(config.supernet), config.strategy)


def test_argmax_keeps_the_order_in_which_a_search_emits_pairs(make_problem):
    space, rng = SPACES["darts7"], np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(7), size=(2, 14)).astype(np.float32)
    weights = CellWeights(rows, rng.random((2, 14)).astype(np.float32))
    problem = make_problem(space, None, start=weights)
    selected = SELECTORS["argmax"].select(problem).weights
    expected = eg.derive(space, as_mixing(space, weights))
    assert eg.derive(space, as_mixing(space, selected)) == expected
    sources = [source for _, source in expected.normal]
    assert any(a > b for a, b in zip(sources[::2], sources[1::2], strict=True))


@pytest.mark.slow
def test_cells_that_keep_all_edges_are_selected_too(tmp_path, monkeypatch):
    monkeypatch.setitem(SPACES, STAGES.name, STAGES)
    folder = tmp_path / "run"
    settings = tiny_search.OF_ANY_METHOD | {
        "epochs": 1,
        "supernet.layers": 5,
        "strategy.candidates": 3,
    }
    config = eg.search_config(
        "digits", strategy="random_search", space=STAGES.name, settings=settings
    )
    eg.run_search(config, out=folder)
    found = eg.select(folder, batches=2, permutations=2, out=folder)
    steps = found.result["selectors"][1]["by_seed"][0]["trace"]["steps"]
    assert len(steps) == STAGES.num_edges and not any("dropped" in s for s in steps)
    for name, genotype in found.genotypes.items():
        assert genotype.edges == STAGES.edges
        assert eg.read_genotype(folder / f"selection_{name}.json") == genotype
    for pair in found.result["agreement"]:
        assert pair["edges"] == pair["total"] == STAGES.num_edges


def selected(**changes):
    """The contents of a selection.json."""
    row = {
        "selector": "shapley",
        "genotype": "g",
        "valid_accuracy": 0.875,
        "valid_loss": None,
        "params": 3_300_000,
        "candidate_images": 12345,
        "trained_images": 0,
        "seconds": 1.25,
        "seed_agreement": 0.5,
    }
    pair = {"first": "argmax", "second": "shapley", "edges": 12, "primitives": 7}
    return {
        "epochs": 1,
        **dataclasses.asdict(SelectionOptions(batches=4, batch_size=96, seeds=3)),
        "selectors": [row | changes],
        "agreement": [pair | {"total": 16}],
    }


@pytest.fixture
def folder(tmp_path):
    """Directory of a run that holds one record."""
    (tmp_path / "seed0").mkdir()
    record = {"epoch": 0, "valid_accuracy": 0.5, "seconds": 1.0}
    records.append(tmp_path / "seed0" / "metrics.jsonl", record)
    return tmp_path / "seed0"


def test_the_report_shows_what_was_selected(folder):
    groups = grouped(read_runs([str(folder)]))
    assert selection_tables(groups) == []
    records.write_json(folder / "selection.json", selected())
    first, _, second = selection_tables(grouped(read_runs([str(folder)])))
    assert first.rows[0][2:] == (
        *("shapley", "87.50", "-", "3.300"),
        *("12,345", "0", "1.2", "0.50"),
    )
    assert second.rows[0][2:] == ("argmax", "shapley", "16", "12", "7")


def test_the_report_shows_what_cells_were_selected_by(folder):
    by_shapley = ("4", "96", "batch", "-", "3", "0", "10", "0.5", "mean-std", "-")
    by_local_search = ("4", "96", "batch", "accuracy", *("-", "0", "-", "-", "-", "-"))
    records.append(folder / "metrics.jsonl", {"epoch": 1, "valid_accuracy": 0.6})
    for name, epochs, expected in (
        ("shapley", 2, ("2", *by_shapley)),
        ("local-search", 2, ("2", *by_local_search)),
        ("shapley", 1, ("1 of 2", *by_shapley)),  # before the run went on
    ):
        content = selected(selector=name) | {"epochs": epochs}
        records.write_json(folder / "selection.json", content)
        _, table, _ = selection_tables(grouped(read_runs([str(folder)])))
        assert len(table.header) == len(table.rows[0])
        assert table.rows[0][2:] == expected


@pytest.mark.parametrize("content", [{"a": 1}, selected(params="many")])
def test_an_altered_selection_is_named(folder, content):
    records.write_json(folder / "selection.json", content)
    with pytest.raises(ValueError, match=r"selection\.json of the run seed0"):
        selection_tables(grouped(read_runs([str(folder)])))
