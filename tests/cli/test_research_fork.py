"""What 40 lines outside the package define passes every command.

The plug-in has two primitives (one with batch norm, one a linen module), a graph of two
inputs and five nodes that lacks some edges, and a method. A second one has a preset.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from own_plugins import (
    FORK_PRESETS,
    RESEARCH_FORK,
    as_in_a_new_process,
    egnas,
    run_until_killed,
)

import egnas_jax as eg
from egnas_jax.storage import records

SEARCH = ["search", "--preset", "fork_tiny", "--strategy", "wander"]
PLUGINS = ["--plugin", RESEARCH_FORK, "--plugin", FORK_PRESETS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search that was killed and went on, and a retraining of its genotype."""
    folder = tmp_path_factory.mktemp("fork")
    run, network = folder / "run", folder / "network"
    run_until_killed(*SEARCH, *PLUGINS, "--out", run)
    assert egnas(*SEARCH, "--out", run, "--resume") == 0
    retrain = ["retrain", "--genotype", run, "--preset", "fork_tiny"]
    assert egnas(*retrain, "--out", network) == 0
    return run, network


def test_the_plugin_has_at_most_40_lines_of_code():
    lines = RESEARCH_FORK.read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 40


@pytest.mark.longest
def test_the_run_was_killed_and_replays_from_its_start(finished, capsys):
    run, _ = finished
    assert [line["epoch"] for line in records.read(run / "metrics.jsonl")] == [0, 1, 2]
    assert egnas("verify", run, "--from-start") == 0
    assert "every digest is the same" in capsys.readouterr().out


@pytest.mark.longest
def test_commands_on_the_run_need_no_option(finished, capsys, tmp_path):
    run, network = finished
    commands = [
        ["draw", run, "--out", tmp_path / "cell.svg"],
        ["report", run, network, "--out", tmp_path / "report"],
        ["export", network, "--format", "safetensors", "--out", tmp_path / "a.st"],
        ["export", network, "--format", "stablehlo", "--out", tmp_path / "a.hlo"],
    ]
    for command in commands:
        assert egnas(*command) == 0, capsys.readouterr().err
    drawing = (tmp_path / "cell.svg").read_text()
    assert "norm_conv" in drawing or "squeeze_excite" in drawing
    assert egnas("export", network, "--format", "onnx") == 2
    assert "--format stablehlo" in capsys.readouterr().err


@pytest.mark.longest
def test_what_is_derived_is_counted_trained_and_evaluated(finished, capsys, tmp_path):
    run, network = finished
    capsys.readouterr()
    assert egnas("derive", run) == 0
    text = capsys.readouterr().out
    assert egnas("evaluate", network, "--json", "--out", tmp_path) == 0
    result = json.loads(capsys.readouterr().out)
    with as_in_a_new_process():
        genotype, trained = eg.read_genotype(run), eg.load_network(network)
        assert genotype.format() in text
        edges = eg.SPACES["fork"].edges
        for kind in ("normal", "reduce"):
            assert {(s, t) for _, s, t in genotype.edges_of(kind)} <= set(edges)
        drawn = sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"]))
        counted = eg.count_params(
            genotype,
            trained.network.config,
            auxiliary=trained.network.config.auxiliary,
            image_channels=1,
        )
    assert counted == drawn
    assert result["n"] == 359


@pytest.mark.longest
def test_its_population_is_evaluated_in_one_call(finished):
    run, _ = finished
    images = np.linspace(-1, 1, 6 * 64, dtype=np.float32).reshape(6, 8, 8, 1)
    labels = np.arange(6, dtype=np.int32)
    with as_in_a_new_process():
        found = eg.load_search(run)
        space = eg.SPACES["fork"]
        alpha = jax.random.normal(jax.random.key(0), (3, space.num_edges, 3))
        together = eg.softmax_mixing(dict.fromkeys(space.kinds, alpha))
        options = {"batch_stats": "batch"}

        def losses(mixings):
            return eg.evaluate_population(
                found.net, found.variables, mixings, images, labels, **options
            ).loss

        one_by_one = [
            losses(jax.tree.map(lambda rows, i=i: rows[i : i + 1], together))
            for i in range(3)
        ]
        np.testing.assert_allclose(
            losses(together), jnp.concatenate(one_by_one), rtol=1e-5
        )


@pytest.mark.longest
def test_other_methods_search_the_same_space(capsys, tmp_path):
    command = ["search", "--preset", "fork_tiny", "--strategy", "egnas", *PLUGINS]
    assert egnas(*command, "--out", tmp_path / "run") == 0, capsys.readouterr().err
    genotype = pathlib.Path(tmp_path / "run" / "genotype.json").read_text()
    assert "norm_conv" in genotype or "squeeze_excite" in genotype
