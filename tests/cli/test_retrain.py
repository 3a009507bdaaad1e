"""`egnas retrain` as a person would meet it."""

import json

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.cli.main import main
from egnas_jax.retrain import loop
from egnas_jax.runs import retrain
from egnas_jax.space import Genotype
from egnas_jax.storage import records
from egnas_jax.training.out_of_memory import OutOfMemoryError

CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
TINY = [
    "--set",
    "network.channels=4",
    "--set",
    "network.layers=3",
    "--set",
    "epochs=2",
    "--set",
    "batch_size=128",
    "--set",
    "learning_rate=0.1",
]
DEAD = CELLS.replace("max_pool_3x3", "none").replace("'skip_connect', 1", "'none', 1")


def test_seeds_make_a_table_and_a_stopped_run_goes_on(tmp_path, capsys):
    out, other = tmp_path / "two", tmp_path / "one"
    command = ["retrain", "--genotype", CELLS, *TINY]
    assert main([*command, "--seeds", "2", "--out", str(out), "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole == json.loads((out / "summary.json").read_text())
    errors = [row["test_error_last"] for row in whole["rows"]]
    assert whole["test_error_last"] == sum(errors) / 2 and whole["seeds"] == [0, 1]
    spread = abs(errors[0] - errors[1]) / 2**0.5
    assert whole["test_error_last_spread"] == pytest.approx(spread)
    assert f"| 1 | {100 * errors[1]:.2f} |" in (out / "table.md").read_text()
    assert (out / "table.csv").read_text().count("\n") == 3
    _last_and_least(out / "seed0")
    _later_seed_of_another_configuration(out, command, capsys)
    assert main([*command, "--out", str(other), "--stop-after", "1"]) == 0
    assert main([*command, "--out", str(other)]) == 2  # taken
    assert main([*command, "--out", str(other), "--resume"]) == 0
    records.write_json(other / "environment.json", {"time": "then"})
    assert main([*command, "--out", str(other), "--resume"]) == 0  # nothing is left
    assert json.loads((other / "environment.json").read_text()) == {"time": "then"}
    for resume in ([], ["--resume"]):  # the run's summary is not the table's place
        several = [*command, "--seeds", "2", "--out", str(other), *resume]
        assert main(several) == 2 and not (other / "seed0").exists()
        assert "several seeds take a directory of their own" in capsys.readouterr().err
    digests = [
        [line["digest"] for line in records.read(folder / "metrics.jsonl")]
        for folder in (other, out / "seed0")
    ]
    assert digests[0] == digests[1]
    changed = [*command, "--set", "seed=1", "--out", str(other), "--resume"]
    assert main(changed) == 2
    assert "seed: 0 -> 1" in capsys.readouterr().err
    # its weights, in a network with three classes of another data set's image side
    _transfer(tmp_path, other, capsys)


def _later_seed_of_another_configuration(out, command, capsys):
    """Is refused before the first seed is touched."""
    path = out / "seed1" / "config.json"
    stored = path.read_text()
    path.write_text(stored.replace('"momentum": 0.9', '"momentum": 0.8'))
    (out / "seed0" / "summary.json").unlink()
    assert main([*command, "--seeds", "2", "--out", str(out), "--resume"]) == 2
    assert "seed1 holds a run of another configuration: momentum: 0.8 -> 0.9" in (
        capsys.readouterr().err
    )
    assert not (out / "seed0" / "summary.json").exists()
    path.write_text(stored)
    assert main([*command, "--seeds", "2", "--out", str(out), "--resume"]) == 0
    capsys.readouterr()


def _last_and_least(run):
    summary = json.loads((run / "summary.json").read_text())
    errors = [line["test_error"] for line in records.read(run / "metrics.jsonl")]
    assert len(set(errors)) == 2
    assert summary["test_error_last"] == errors[-1]
    assert summary["test_error_best"] == min(errors) == errors[summary["best_epoch"]]


def _transfer(tmp_path, origin, capsys):
    import numpy as np

    rng = np.random.default_rng(0)
    data = tmp_path / "mine.npz"
    np.savez(
        data,
        images=rng.integers(0, 256, (60, 12, 12, 1), np.uint8),
        labels=np.arange(60) % 3,
    )
    command = [
        "retrain",
        *TINY,
        "--set",
        "batch_size=16",
        "--set",
        f"data.path={data}",
        "--init-from",
        str(origin),
    ]
    assert main([*command, "--genotype", CELLS, "--out", str(tmp_path / "new")]) == 0
    model = json.loads((tmp_path / "new" / "model.json").read_text())
    assert model["image_shape"] == [12, 12, 1]
    wider = [*command, "--genotype", CELLS, "--set", "network.channels=8"]
    assert main([*wider, "--out", str(tmp_path / "wide")]) == 2
    assert "holds another network" in capsys.readouterr().err
    assert not (tmp_path / "wide").exists()


@pytest.mark.parametrize(
    "stored, more, split_seed",
    [
        ({"seed": 7}, [], 7),  # of a search
        ({"seed": 7, "split_seed": 3}, [], 3),  # of a retraining
        ({"seed": 7}, ["--set", "split_seed=5"], 5),
    ],
)
def test_images_that_a_search_never_saw_stay_for_the_test(
    stored, more, split_seed, tmp_path, capsys
):
    (tmp_path / "genotype.json").write_text(Genotype.parse(CELLS).to_json())
    (tmp_path / "config.json").write_text(json.dumps(stored))
    command = ["retrain", "--genotype", str(tmp_path), "--print-config", *more]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["split_seed"] == split_seed


@pytest.mark.parametrize("seconds", ["60", -1, True, [1]])
def test_a_search_of_no_known_length_is_refused(seconds, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "genotype.json").write_text(Genotype.parse(CELLS).to_json())
    (tmp_path / "summary.json").write_text(json.dumps({"seconds": seconds}))
    command = ["retrain", "--genotype", str(tmp_path), *TINY, "--out", str(out)]
    assert main(command) == 2
    assert f"its seconds are {seconds!r}, and should be a number from 0" in (
        capsys.readouterr().err
    )
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--genotype", "DARTS_V3"], "Did you mean DARTS_V2"),
        (["--genotype", CELLS.replace("dil_conv_3x3", "conv_9x9")], "conv_9x9"),
        (["--genotype", DEAD], "normal cell has no path"),
        (["--genotype", "EMPTY"], "holds no genotype.json"),
        (["--genotype", "ALTERED"], "config.json was altered"),
        (["--genotype", CELLS, "--seeds", "0"], "--seeds is 0"),
        (["--genotype", CELLS, "--set", "network.auxiliary=true"], "--no-auxiliary"),
        (["--genotype", CELLS, "--init-from", "EMPTY"], "holds no run"),
        (["--genotype", CELLS, "--preset", "cifar"], "Did you mean"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(arguments, message, tmp_path, capsys):
    empty, altered, out = (tmp_path / name for name in ("empty", "altered", "out"))
    empty.mkdir()
    altered.mkdir()
    (altered / "genotype.json").write_text(Genotype.parse(CELLS).to_json())
    (altered / "config.json").write_text("[1")
    places = {"EMPTY": str(empty), "ALTERED": str(altered)}
    arguments = [places.get(word, word) for word in arguments]
    tiny = [*TINY, "--out", str(out)]
    assert main(["retrain", *tiny, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "program, settings, expected",
    [
        ("train", ["batch_size=96"], "accumulate=2"),
        ("train", ["batch_size=96", "accumulate=32"], "accumulate=48"),
        ("train", ["batch_size=97"], "batch_size=49"),
        ("train", ["batch_size=96", "accumulate=48"], "network.remat=true"),
        ("train", ["batch_size=2", "network.remat=true"], "network.channels=2"),
        ("evaluate", ["eval_batch_size=100"], "eval_batch_size=50"),
        ("evaluate", ["eval_batch_size=64"], "network.channels=2"),
    ],
)
def test_where_memory_is_short_a_setting_is_named(
    program, settings, expected, tmp_path, capsys, monkeypatch
):
    def out_of_memory(*given):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 9 bytes")

    def run_through(run, state, start, stop):
        return state._replace(step=jnp.int32(stop))

    calls = {"train": out_of_memory, "evaluate": run_through}
    monkeypatch.setattr(loop, "call", calls[program])
    monkeypatch.setattr(loop, "predict", out_of_memory)
    out = tmp_path / "run"
    command = ["retrain", "--genotype", CELLS, *TINY, "--out", str(out)]
    command += [word for setting in settings for word in ("--set", setting)]
    assert main(command) == 1
    told = capsys.readouterr().err
    assert f"Out of memory in {program}: RESOURCE_EXHAUSTED" in told
    assert f"start anew with --set {expected} and another --out" in told
    assert "No epoch was finished" in told
    config, error = retrain.stored(out), OutOfMemoryError(program, "too much")
    monkeypatch.setattr(out_of_memory.checkpoint, "steps", lambda folder: [12])
    saved = out_of_memory.retrain_advice(error, config=config, folder=out)
    assert "--resume goes on where other programs had the memory" in saved
    assert f"start anew with --set {expected} and another --out" in saved
