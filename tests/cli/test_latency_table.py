"""`egnas latency-table` prints the table, and how well it predicts."""

import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.nn.edge_costs import EdgeCosts
from egnas_jax.runs.preset_registration import register_preset
from egnas_jax.runs.presets import RECIPES
from egnas_jax.studies import latency_check
from egnas_jax.training import latency_table


@pytest.fixture
def asked(monkeypatch):
    """A made-up table; what it was asked for."""
    calls = []

    def costs(space, network, batch_size, *, plugins, log):
        calls.append((space.name, network, batch_size))
        edges = np.arange(2 * space.num_edges * len(space.primitives)) * 10**6
        return EdgeCosts(
            2 * 10**6, edges.reshape(2, space.num_edges, len(space.primitives))
        )

    monkeypatch.setattr(latency_table, "latency_costs", costs)
    return calls


@pytest.fixture
def recipes():
    """Removes presets that a test adds."""
    before = set(RECIPES)
    yield RECIPES
    for name in set(RECIPES) - before:
        del RECIPES[name]


def test_the_table_is_printed_in_milliseconds(asked, capsys):
    command = ["latency-table", "--space", "darts8", "--preset", "digits"]
    assert main([*command, "--batch-size", "4", "--channels", "6"]) == 0
    ((space, network, batch_size),) = asked
    assert (space, batch_size) == ("darts8", 4)
    assert (network.config.channels, network.config.layers) == (6, 5)
    assert network[1:] == (8, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "frame: 2 ms"
    assert lines[1].startswith("normal, from an input, ms: none 0, max_pool_3x3 1, ")
    assert lines[-1].startswith("reduce, from a node, ms: none 216, ")


@pytest.mark.parametrize(
    ("base", "settings", "words", "expected"),
    [
        ("digits", {"network.channels": 4}, [], (4, 10, 8, 1)),
        ("digits", {"network.channels": 4}, ["--image-size", "6"], (4, 10, 6, 1)),
        ("cifar10", {"stream": True, "image_size": 48}, [], (36, 10, 48, 3)),
        ("cifar100", {"network.channels": 4}, [], (4, 100, 32, 3)),
        ("imagenet", {"image_size": 160}, [], (48, 1000, 160, 3)),
        ("digits", {"data.path": "mine.npz"}, [], (8, 2, 12, 2)),
    ],
)
def test_the_network_and_images_are_those_of_a_preset_of_ones_own(
    base, settings, words, expected, asked, recipes, tmp_path, monkeypatch
):
    images = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 2), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(40) % 2)
    monkeypatch.chdir(tmp_path)
    register_preset("mine", settings, base=base, command="retrain")
    assert main(["latency-table", "--preset", "mine", *words]) == 0
    ((_, network, _),) = asked
    config = network.config
    assert (config.channels, config.num_classes, *network[1:]) == expected


def test_the_check_prints_the_rank_correlation(capsys, monkeypatch):
    # Separable convolutions take a millisecond, by the table and as measured.
    def costs(space, *arguments, plugins, log):
        is_slow = [name.startswith("sep") for name in space.primitives]
        edges = np.tile(is_slow, (2, space.num_edges, 1)) * 10**6
        return EdgeCosts(0, edges)

    def program(genotype, network, shape, batch_size):
        names = [name for name, _ in genotype.normal + genotype.reduce]
        return sum(name.startswith("sep") for name in names), ()

    monkeypatch.setattr(latency_table, "latency_costs", costs)
    monkeypatch.setattr(latency_check, "compiled_network", program)
    monkeypatch.setattr(latency_check, "median_seconds", lambda number, _: number / 1e3)
    assert main(["latency-table", "--check", "--cells", "12"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("12 random cells, batches of 1: measured ")
    assert last.endswith("Spearman of predicted and measured 1.000")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--cells", "2"], "--cells is 2"),
        (["--image-size", "0"], "--image-size is 0, but must be at least 1"),
        (["--image-size", "-5"], "--image-size is -5, but must be at least 1"),
        (["--layers", "0"], "network.layers is 0"),
        (["--space", "darts9"], "Unknown space 'darts9'"),
        (["--preset", "other"], "Unknown preset 'other'"),
    ],
)
def test_unusable_arguments_end_the_command(arguments, message, capsys):
    assert main(["latency-table", *arguments]) == 2
    assert message in capsys.readouterr().err
