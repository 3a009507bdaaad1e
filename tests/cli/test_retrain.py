"""`egnas retrain` from the command line."""

import contextlib
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.retrain import loop, memory_advice
from egnas_jax.runs.finished_network import load_config
from egnas_jax.space import Genotype
from egnas_jax.storage import records
from egnas_jax.studies import retrain_seeds
from egnas_jax.training.out_of_memory import OutOfMemoryError


def set_options(settings):
    """Words of a command line that set space-separated "path=value" entries."""
    return [word for setting in settings.split() for word in ("--set", setting)]


CELLS = (
    "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('skip_connect', 0), ('dil_conv_3x3', 1)], reduce_concat=[2])"
)
TINY = set_options(
    "network.channels=4 network.layers=3 epochs=2 batch_size=128 learning_rate=0.1"
)
DEAD = CELLS.replace("max_pool_3x3", "none").replace("'skip_connect', 1", "'none', 1")


def test_seeds_that_train_together_say_what_is_waited_for(tmp_path, monkeypatch):
    said = []

    @contextlib.contextmanager
    def waiting_for(text, *, quiet):
        said.append((text, quiet))
        yield

    def train(*arguments, **options):
        assert said
        raise ValueError("The test ends here.")

    monkeypatch.setattr("egnas_jax.cli.retrain.waiting_for", waiting_for)
    monkeypatch.setattr("egnas_jax.runs.retrainings.run_retrainings", train)
    command = ["retrain", "--genotype", CELLS, "--seeds", "2", "--batched"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    ((text, quiet),) = said
    assert "compiling" in text and not quiet


def test_the_table_names_a_seed_of_a_batch_whose_loss_was_not_finite(
    tmp_path, monkeypatch
):
    names = [*retrain_seeds.PER_SEED, *retrain_seeds.SHARED.split()]
    trained = types.SimpleNamespace(summary=dict.fromkeys(names, 1))
    ended = types.SimpleNamespace(results=(trained, None, trained))
    monkeypatch.setattr(
        "egnas_jax.runs.retrainings.run_retrainings", lambda *a, **b: ended
    )
    command = ["retrain", "--genotype", CELLS, "--seeds", "3", "--batched"]
    assert main([*command, "--out", str(tmp_path)]) == 1
    assert "leaves them out: 1." in (tmp_path / "table.md").read_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["seeds"], summary["failed"]) == ([0, 2], [1])


@pytest.mark.slow
def test_seeds_make_a_table_and_a_stopped_run_resumes(tmp_path, capsys):
    out, other = tmp_path / "two", tmp_path / "one"
    command = ["retrain", "--genotype", CELLS, *TINY]
    assert main([*command, "--seeds", "2", "--out", str(out), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table == json.loads((out / "summary.json").read_text())
    errors = [row["test_error_last"] for row in table["rows"]]
    assert table["test_error_last"] == sum(errors) / 2 and table["seeds"] == [0, 1]
    spread = abs(errors[0] - errors[1]) / 2**0.5
    assert table["test_error_last_spread"] == pytest.approx(spread)
    assert f"| 1 | {100 * errors[1]:.2f} |" in (out / "table.md").read_text()
    assert (out / "table.csv").read_text().count("\n") == 3
    _check_last_and_least_error(out / "seed0")
    _check_that_a_changed_later_seed_is_refused(out, command, capsys)
    assert main([*command, "--out", str(other), "--stop-after", "1"]) == 0
    assert main([*command, "--out", str(other)]) == 2  # holds a run already
    assert main([*command, "--out", str(other), "--resume"]) == 0
    records.write_json(other / "environment.json", {"time": "then"})
    assert main([*command, "--out", str(other), "--resume"]) == 0  # nothing is left
    assert json.loads((other / "environment.json").read_text()) == {"time": "then"}
    for resume in ([], ["--resume"]):  # a table would replace the summary of the run
        several = [*command, "--seeds", "2", "--out", str(other), *resume]
        assert main(several) == 2 and not (other / "seed0").exists()
        assert "several seeds take a directory of their own" in capsys.readouterr().err
    digests = [
        [record["digest"] for record in records.read(folder / "metrics.jsonl")]
        for folder in (other, out / "seed0")
    ]
    assert digests[0] == digests[1]
    changed = [*command, "--set", "seed=1", "--out", str(other), "--resume"]
    assert main(changed) == 2
    assert "seed: 0 -> 1" in capsys.readouterr().err
    _check_transfer(tmp_path, other, capsys)


def _check_that_a_changed_later_seed_is_refused(out, command, capsys):
    """The error comes before the first seed is touched."""
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


def _check_last_and_least_error(run):
    summary = json.loads((run / "summary.json").read_text())
    errors = [line["test_error"] for line in records.read(run / "metrics.jsonl")]
    assert len(set(errors)) == 2
    assert summary["test_error_last"] == errors[-1]
    assert summary["test_error_best"] == min(errors) == errors[summary["best_epoch"]]


def _check_transfer(tmp_path, origin, capsys):
    """Weights of a run start one with three classes and larger images."""
    rng = np.random.default_rng(0)
    data = tmp_path / "mine.npz"
    np.savez(
        data,
        images=rng.integers(0, 256, (60, 12, 12, 1), np.uint8),
        labels=np.arange(60) % 3,
    )
    command = ["retrain", *TINY, "--set", "batch_size=16", "--set", f"data.path={data}"]
    command += ["--init-from", str(origin)]
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
        ({"seed": 7}, [], 7),  # configuration of a search
        ({"seed": 7, "split_seed": 3}, [], 3),  # configuration of a retraining
        ({"seed": 7}, ["--set", "split_seed=5"], 5),
    ],
)
def test_the_test_images_of_the_search_stay_test_images(
    stored, more, split_seed, tmp_path, capsys
):
    (tmp_path / "genotype.json").write_text(Genotype.parse(CELLS).to_json())
    (tmp_path / "config.json").write_text(json.dumps(stored))

    def seed_with(genotype):
        command = ["retrain", "--genotype", str(genotype), "--print-config", *more]
        assert main(command) == 0
        return json.loads(capsys.readouterr().out)["split_seed"]

    assert seed_with(tmp_path) == split_seed
    # a file belongs to a run only where a run wrote its folder
    alone = int(more[-1].split("=")[1]) if more else 0
    assert seed_with(tmp_path / "genotype.json") == alone
    (tmp_path / "metrics.jsonl").touch()
    assert seed_with(tmp_path / "genotype.json") == split_seed


@pytest.mark.parametrize("seconds", ["60", -1, True, [1]])
def test_a_search_with_an_altered_duration_is_refused(seconds, tmp_path, capsys):
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
        (["--genotype", "ALTERED"], "config.json cannot be read"),
        (["--genotype", CELLS, "--seeds", "0"], "--seeds is 0"),
        (["--genotype", CELLS, "--seeds", "100000000"], "takes at most 10000"),
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
        ("train", "batch_size=96", "accumulate=2"),
        ("train", "batch_size=96 accumulate=32", "accumulate=48"),
        ("train", "batch_size=97", "batch_size=49"),
        ("train", "batch_size=96 accumulate=48", "network.remat=true"),
        ("train", "batch_size=2 network.remat=true", "network.channels=2"),
        ("evaluate", "", "network.channels=2"),
    ],
)
def test_out_of_memory_names_the_setting_to_change(
    program, settings, expected, tmp_path, capsys, monkeypatch
):
    def out_of_memory(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 9 bytes")

    def skip_steps(run, state, start, stop):
        return state.replace(step=jnp.int32(stop))

    run_steps = {"train": out_of_memory, "evaluate": skip_steps}[program]
    monkeypatch.setattr(loop, "run_steps", run_steps)
    monkeypatch.setattr(loop, "predict", out_of_memory)
    out = tmp_path / "run"
    command = ["retrain", "--genotype", CELLS, *TINY, "--out", str(out)]
    assert main([*command, *set_options(settings)]) == 1
    message = capsys.readouterr().err
    assert f"Out of memory in {program}: RESOURCE_EXHAUSTED" in message
    assert f"start anew with --set {expected} and another --out" in message
    assert "No epoch was finished" in message
    config, error = load_config(out), OutOfMemoryError(program, "too much")
    monkeypatch.setattr(memory_advice.checkpoint, "steps", lambda folder: [12])
    message = memory_advice.memory_advice(error, config=config, folder=out)
    assert "--resume goes on once other programs have freed memory" in message
    assert f"start anew with --set {expected} and another --out" in message
