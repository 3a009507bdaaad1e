"""`egnas search` over seeds and settings."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.cli.search_many import configurations, read_batched, read_sweep
from egnas_jax.runs.batch_shape import BatchShape
from egnas_jax.runs.search_config import search_config
from egnas_jax.storage import records

TINY = [
    *("--space", "tiny", "--set", "epochs=3", "--set", "strategy.warmup=1"),
    *tiny_search.words(tiny_search.SETTINGS),
]
# Dies after the record of the second search in epoch 1, before its checkpoint.
KILLED = f"""
import os
import signal
import sys

from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records

SPACES["tiny"] = {tiny_search.SPACE!r}
append, seen = records.append, []


def append_and_end(path, record):
    append(path, record)
    seen.append(record["epoch"])
    if seen == [0, 0, 0, 1, 1]:
        os.kill(os.getpid(), signal.SIGKILL)


records.append = append_and_end
sys.exit(main())
"""


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


def made_with(**settings):
    """What makes a configuration of the settings of a sweep."""
    return lambda more: search_config(settings={**settings, **more})


def test_every_combination_is_searched_with_every_seed():
    sweep = read_sweep(["strategy.eta=0.2,0.4", "momentum=0.5,0.9"])
    configs = configurations(made_with(seed=7), sweep, 2)
    found = [(c.strategy.eta, c.momentum, c.seed) for c in configs]
    assert found == [
        (eta, momentum, seed)
        for eta in (0.2, 0.4)
        for momentum in (0.5, 0.9)
        for seed in (7, 8)
    ]
    by_seed = configurations(made_with(), read_sweep(["seed=3,5"]), 1)
    assert [config.seed for config in by_seed] == [3, 5]


def test_a_swept_limit_is_of_the_network_of_the_preset():
    sweep = read_sweep(["strategy.limit.params=20000,30000"])
    for config in configurations(made_with(), sweep, 1):
        expected = {"strategy.limit.params": config.strategy.limit.params}
        assert config == search_config(settings=expected)
        assert (config.strategy.limit.channels, config.strategy.limit.layers) == (8, 5)


def test_batched_is_a_word_or_a_number():
    assert [read_batched(t) for t in (None, "auto", "on", "off", "3")] == [
        *("off", "auto", "on", "off"),
        3,
    ]


# options -> part of the message
BAD = {
    "a setting twice": (["--sweep", "strategy.eta=0.2,0.20"], "same setting twice"),
    "a setting of --set": (
        ["--sweep", "strategy.eta=0.2,0.4", "--set", "strategy.eta=0.3"],
        "--sweep and --set both give strategy.eta",
    ),
    "no search at a time": (["--batched", "0"], "--batched is '0'"),
    "a negative number": (["--batched", "-2"], "--batched"),
    "a fraction": (["--batched", "1.5"], "--batched is '1.5'"),
    "another word": (["--batched", "gpu"], "auto, on, off"),
    "unknown path": (["--sweep", "strategy.etta=1,2"], "Did you mean strategy.eta"),
    "out of range": (["--sweep", "momentum=0.5,1.5"], "momentum is 1.5"),
    "printed": (["--print-config", "--sweep", "momentum=1.5"], "momentum is 1.5"),
    "another type": (["--sweep", "strategy.eta=0.1,x"], "takes a number, got 'x'"),
    "an option": (
        ["--sweep", "variant=paper,official"],
        "--sweep varies settings, and variant is none: --variant chooses it",
    ),
    "no values": (["--sweep", "strategy.eta="], "--sweep takes PATH=V1,V2"),
    "an empty value": (["--sweep", "strategy.eta=1,,2"], "--sweep takes PATH"),
    "no path": (["--sweep", "0.1,0.2"], "--sweep takes PATH"),
    "twice the same path": (
        ["--sweep", "strategy.eta=1", "--sweep", "strategy.eta=2"],
        "strategy.eta twice",
    ),
    "many seeds": (["--seeds", "100000000"], "seeds is 100000000, but one"),
    "many seeds of a sweep": (
        ["--seeds", "10001", "--sweep", "momentum=0.5,0.9"],
        "takes at most 10000",
    ),
    "seeds twice": (["--seeds", "2", "--sweep", "seed=1,2"], "Leave one of the two"),
    "not batchable": (
        ["--batched", "on", "--sweep", "strategy.population=4,8"],
        "strategy.population differs between the searches (4, 8)",
    ),
    "stages": (["--strategy", "p_darts", "--batched", "2", "--seeds", "2"], "stages"),
    "restored": (["--batched", "on", "--restore", "."], "--restore is for one search"),
    "profiled": (["--batched", "on", "--profile", "p"], "--profile is for one search"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_end_with_2_and_write_nothing(
    name, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[name]
    try:
        code = main(["search", "--out", "out", *arguments])
    except SystemExit as end:  # of the parser
        code = end.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["search"], ["retrain", "--genotype", "DARTS_V2"]])
def test_runs_that_began_as_one_program_do_not_go_on_alone(command, tmp_path, capsys):
    for index in range(2):
        folder = tmp_path / f"seed{index}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        place = BatchShape(width=2).place(index, [])
        records.write_json(folder / "environment.json", {"batch": place})
    before = sorted(tmp_path.rglob("*"))
    words = ["--seeds", "2", "--out", str(tmp_path), "--resume"]
    assert main([*command, *words]) == 2
    said = capsys.readouterr().err
    assert "began in batches of 2 a device" in said and "--batched 2" in said
    assert sorted(tmp_path.rglob("*")) == before


def digests(folder):
    return {
        str(path.relative_to(folder)): [line["digest"] for line in records.read(path)]
        for path in sorted(pathlib.Path(folder).rglob("metrics.jsonl"))
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two settings of two seeds each as one program; the directory."""
    out = tmp_path_factory.mktemp("swept") / "out"
    command = ["search", *TINY, "--seeds", "2", "--sweep", "strategy.eta=0.1,0.6"]
    assert main([*command, "--batched", "on", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_sweep_is_compared_setting_by_setting(swept):
    names = {"strategy.eta=0.1/seed0", "strategy.eta=0.1/seed1"}
    names |= {name.replace("0.1", "0.6") for name in names}
    folders = {p.parent for p in swept.rglob("summary.json")}
    assert {str(folder.relative_to(swept)) for folder in folders} == names
    found = records.read_object(swept / "comparison.json")
    for setting in found["settings"]:
        assert setting["n"] == 2 and not setting["failed"]
        for seed, accuracy in setting["seeds"].items():
            folder = swept / setting["setting"] / f"seed{seed}"
            assert setting["runs"][seed] == str(folder)
            summary = records.read_object(folder / "summary.json")
            assert summary["valid_accuracy"] == accuracy
        assert setting["mean"] == pytest.approx(sum(setting["seeds"].values()) / 2)
    table = (swept / "comparison.md").read_text()
    assert "| strategy.eta=0.1 | 2 |" in table and "| strategy.eta=0.6 | 2 |" in table


@pytest.mark.slow
def test_a_member_is_verified_reported_and_resumed(swept, tmp_path, capsys):
    folder = swept / "strategy.eta=0.6" / "seed1"
    assert main(["verify", str(folder), "--from-start"]) == 0
    said = capsys.readouterr()
    assert "Epochs 1 to 3 were replayed; every digest is the same." in said.out
    assert "other settings" not in said.err
    assert main(["report", *map(str, swept.glob("*/*")), "--out", str(tmp_path)]) == 0
    assert main(["derive", str(folder)]) == 0


@pytest.mark.slow
def test_one_after_another_gives_the_runs_of_single_commands(tmp_path, capsys):
    command = ["search", *TINY, "--out", str(tmp_path / "swept"), "--json"]
    sweep = ["--sweep", "strategy.eta=0.1,0.6"]
    assert main([*command, *sweep]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["at_a_time"] == 1 and len(found["settings"]) == 2
    single = ["search", *TINY, "--out", str(tmp_path / "one")]
    assert main([*single, "--set", "strategy.eta=0.6"]) == 0
    one = digests(tmp_path / "one")["metrics.jsonl"]
    assert digests(tmp_path / "swept")["strategy.eta=0.6/seed0/metrics.jsonl"] == one


@pytest.mark.longest
def test_a_batch_killed_and_resumed_has_the_digests_of_an_undisturbed_one(tmp_path):
    def command(name):
        options = ["--seeds", "3", "--batched", "on", "--out", str(tmp_path / name)]
        return ["search", *TINY, *options]

    assert main(command("straight")) == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command("killed")],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = {name: len(lines) for name, lines in digests(tmp_path / "killed").items()}
    assert sorted(left.values()) == [1, 2, 2]
    assert main([*command("killed"), "--resume"]) == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "straight")


@pytest.mark.slow
def test_a_search_whose_loss_is_nan_is_said_and_the_command_ends_with_1(
    tmp_path, capsys
):
    command = ["search", *TINY, "--batched", "on", "--out", str(tmp_path)]
    assert main([*command, "--sweep", "learning_rate=0.1,1e30"]) == 1
    said = capsys.readouterr()
    assert "learning_rate=1e%2B30/seed0: The training loss is" in said.err
    assert "| learning_rate=1e%2B30 | 0 (1 failed) | – |" in said.out
    assert (tmp_path / "learning_rate=0.1" / "seed0" / "summary.json").exists()
