"""DARTS's skips in NAS-Bench-201, and its cells in the table, over the epochs."""

import pytest

from egnas_jax.space import SPACES, Topology
from egnas_jax.studies.nasbench201.read import read_table

SKIP = SPACES["nasbench201"].primitives.index("skip_connect")


@pytest.fixture
def table(write_table, tmp_path):
    """A table whose cells have 90.3 %, less 6 for each skip."""

    def accuracies(cells):
        test = 90.3 - 6.0 * (cells == SKIP).sum(axis=1)
        return test, test

    path = tmp_path / "table.npz"
    write_table(path, accuracies)
    return read_table(path, "cifar10")


def lines_of(skips, accuracy=0.5):
    """Records of a search with these numbers of skips, the rest convolutions."""
    conv = SPACES["nasbench201"].primitives.index("nor_conv_3x3")
    return [
        {
            "epoch": epoch,
            "skip_cell": number,
            "genotype": Topology.of_choices(
                [SKIP] * number + [conv] * (6 - number)
            ).format(),
            "valid_accuracy": accuracy,
            "seconds": 2.0,
        }
        for epoch, number in enumerate(skips)
    ]


def test_a_row_has_the_skips_of_three_epochs_and_the_cell_in_the_table(load, table):
    row = load("collapse").make_row(table, 7, lines_of([0, 1, 3, 2, 5, 5, 6, 6]))
    # eight epochs: the second, the fourth and the last
    assert row[:6] == [7, 1, 2, 6, 6, 50]
    assert row[6] == pytest.approx(54.30, abs=0.005)
    assert row[7].count("skip_connect") == 6


def test_the_note_counts_searches_that_collapse(load, table):
    runs = [lines_of([0, 6]), lines_of([0, 4]), lines_of([4, 3])]
    note = load("collapse").describe(table, runs)
    assert note.startswith("2 of 3 searches end with at least 4 skips of six.")
    # found: 54.3, 66.3 and 72.3; a random cell has 1.2 skips of six in the mean
    assert "64.30 % in the table in the mean, random cells 83.10 %" in note
    assert "six skips 54.30 %" in note


def test_the_figure_has_a_line_for_each_seed(load, table):
    series = load("collapse").make_series(table, [lines_of([0, 6]), lines_of([1, 2])])
    assert series["skips", "DARTS"]["seed 1"] == [(1, 1), (2, 2)]
    first, last = series["accuracy", "DARTS"]["seed 0"]
    assert (first[1], last[1]) == pytest.approx((90.3, 54.3), abs=0.005)


@pytest.mark.parametrize(
    "size, images", [("tiny", 719), ("small", 2_500), ("full", 25_000)]
)
def test_alpha_takes_the_published_rate_times_steps_at_every_size(size, images, load):
    experiment = load("collapse")
    options = experiment.make_parser().parse_args(["--table", "T", "--out", "/nowhere"])
    source = load("subset").Source(None, {})
    jobs = experiment.searches(options, experiment.SIZES[size], source)
    assert [job.config.seed for job in jobs] == [0, 1, 2]
    config = jobs[0].config
    assert config.supernet.space == "nasbench201"
    assert config.supernet.partial_channels == 1
    assert config.strategy.second_order == "off"
    steps = images // config.batch_size * config.epochs
    assert config.strategy.learning_rate * steps == pytest.approx(5.85, rel=0.02)


def test_a_wrong_setting_ends_before_anything_runs(load, nasbench201, tmp_path, capsys):
    command = f"--table {nasbench201} --size tiny --out {tmp_path} --set"
    for setting in ("strategy.population=3", "data.name=mnist"):
        with pytest.raises(SystemExit) as ended:
            load("collapse").main([*command.split(), setting])
        assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


def test_searches_are_listed_without_running_any(load, nasbench201, tmp_path, capsys):
    words = f"--table {nasbench201} --size tiny --out {tmp_path} --list"
    load("collapse").main(words.split())
    shown = capsys.readouterr().out
    assert shown.count(": 0 of 24 epochs") == 3
    assert not list(tmp_path.iterdir())
