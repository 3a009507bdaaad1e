"""A run of a later version is refused by the names of its unknown settings."""

import json

import pytest

from egnas_jax.cli.main import main
from egnas_jax.runs.retrain_config import retrain_config, with_genotype
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.unknown_settings import unknown_settings
from egnas_jax.settings import as_dict
from egnas_jax.space import zoo
from egnas_jax.storage import records

SEARCH = as_dict(search_config())
RETRAINING = as_dict(with_genotype(retrain_config(), "DARTS_V2"))


@pytest.mark.parametrize("stored", [SEARCH, RETRAINING], ids=["search", "retraining"])
def test_what_this_version_writes_is_known(stored):
    assert unknown_settings(json.loads(json.dumps(stored))) == []


@pytest.mark.parametrize(
    "stored, added, unknown",
    [
        (SEARCH, {"later": 1}, ["later"]),
        (SEARCH, {"watch": {"later": 1}, "new": {}}, ["watch.later", "new"]),
        (SEARCH, {"strategy": {"zeta": 1.0, "later": 2}}, ["strategy.later"]),
        (SEARCH, {"strategy": {"priced": "x", "split": "halves"}}, []),  # version 0.1
        (SEARCH, {"strategy_name": "of a script", "strategy": {"own": 1}}, []),
        (RETRAINING, {"network": {"later": 1}}, ["network.later"]),
        (RETRAINING, {"later": 1, "eval_batch_size": 2}, ["later"]),
    ],
)
def test_unknown_settings_are_named_by_their_paths(stored, added, unknown):
    assert unknown_settings(stored | added) == unknown


@pytest.mark.parametrize("content", [None, [1], "text", {}, {"network": 1}])
def test_what_is_no_configuration_is_left_to_its_reader(content):
    assert unknown_settings(content) == []


@pytest.fixture
def later(tmp_path):
    """Runs of a later version: config.json of a search and of a retraining."""
    for name, stored in (("search", SEARCH), ("net", RETRAINING)):
        (tmp_path / name).mkdir()
        data = stored["data"] | {"crop_shape": 2}
        records.write_json(tmp_path / name / "config.json", stored | {"data": data})
        genotype = zoo["DARTS_V2"].genotype.to_json()
        (tmp_path / name / "genotype.json").write_text(genotype)
        line = {"epoch": 0, "valid_accuracy": 0.5, "test_error": 0.5, "seconds": 1}
        records.append(tmp_path / name / "metrics.jsonl", line | {"digest": "a"})
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "verify SEARCH",
        "noise SEARCH --out OUT",
        "rank-correlation SEARCH --table none.npz --out OUT",
        "search --out SEARCH --resume",
        "search --restore SEARCH --out OUT",
        "evaluate NET --out OUT",
        "export NET --format safetensors --out OUT",
        "report SEARCH --out OUT",
        "report NET --out OUT",
        "retrain --genotype SEARCH --out OUT",
        "retrain --genotype DARTS_V2 --init-from NET --set network.layers=3 --out OUT",
        "retrain --genotype DARTS_V2 --restore NET --set network.layers=3 --out OUT",
        "retrain --genotype DARTS_V2 --out NET --set network.layers=3 --resume",
    ],
)
def test_every_command_that_reads_a_run_names_the_setting(command, later, capsys):
    places = {"SEARCH": "search", "NET": "net", "OUT": "out"}
    words = [
        str(later / places[word]) if word in places else word
        for word in command.split()
    ]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "settings that this version does not know: data.crop_shape" in said
    assert not (later / "out").exists()
