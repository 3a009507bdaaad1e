"""Several retrainings as one program: each as alone, and no other moves it."""

import json
import os
import signal
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.cli.main import main
from egnas_jax.retrain import loop, member_loop
from egnas_jax.retrain.datasets import make_test_split
from egnas_jax.retrain.predict import make_logits, predict
from egnas_jax.retrain.scores import score
from egnas_jax.runs import retrain_batch, retrainings
from egnas_jax.runs.finished_network import load_network
from egnas_jax.runs.retrain import run_retraining
from egnas_jax.runs.retrain_config import retrain_config
from egnas_jax.runs.retrain_data import load_data
from egnas_jax.runs.retrainings import check_batchable, run_retrainings
from egnas_jax.settings import apply_settings
from egnas_jax.storage import checkpoint, records
from egnas_jax.training.interrupt import Interrupted

SETTINGS = {
    "network.channels": 4,
    "network.layers": 3,
    "network.drop_path": 0.2,
    "epochs": 3,
    "batch_size": 128,
    "learning_rate": 0.1,
    "evaluate_every": 2,
    "steps_per_call": 5,  # of 8 steps of an epoch
    "valid_share": 0.2,
}
# what the three members have of their own
CHANGES = (
    {"seed": 0},
    {
        "seed": 1,
        "momentum": 0.5,
        "weight_decay": 0.01,
        "clip_norm": 0.5,
        "auxiliary_weight": 0.9,
    },
    {"seed": 2, "learning_rate": 0.2, "network.drop_path": 0.5},
)
# Dies in the second evaluation, after the record of the second of three seeds.
KILLED = """
import os, signal, sys
from egnas_jax.cli.main import main
from egnas_jax.storage import records

append, seen = records.append, []


def append_and_end(path, record):
    append(path, record)
    seen.append(record["epoch"])
    if seen == [0, 1] * 3 + [2, 2]:
        os.kill(os.getpid(), signal.SIGKILL)


records.append = append_and_end
sys.exit(main())
"""


def with_each(*changes):
    base = retrain_config(settings=SETTINGS)
    return [apply_settings(base, each) for each in changes]


def digests(folders):
    return [
        [line["digest"] for line in records.read(folder / "metrics.jsonl")]
        for folder in folders
    ]


def without_time(lines):
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


# --- what can be batched


def test_retrainings_of_a_batch_may_differ_in_numbers_alone():
    changes = {path: 0.2 for path in retrainings.BATCHABLE if path != "seed"}
    check_batchable(with_each({}, changes | {"seed": 9}, {"keep_checkpoints": 5}))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"network.channels": 8}, r"network.channels differs between the retrainings"),
        ({"epochs": 5}, "epochs differs .* the calls of one host"),
        ({"warmup": 1}, "warmup differs .* the calls of one host"),
        ({"split_seed": 1}, "split_seed differs .* share their images"),
        ({"data.cutout": 4}, "data.cutout differs .* share their images"),
        ({"label_smoothing": 0.1}, "label_smoothing differs .* compiled program"),
        ({"network.drop_path": 0.0}, r"network.drop_path is 0 in some .*\(0.0, 0.2\)"),
    ],
)
def test_the_first_setting_that_cannot_be_batched_is_named(
    change, message, cells, tmp_path
):
    configs, folders = with_each({}, change), [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ValueError, match=message):
        run_retrainings(cells, configs, folders, batched="on")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "folders, options, message",
    [
        (["a", "a"], {}, "Runs 1 and 2 have the same directory, a"),
        (["a"], {}, "out has 1 entries for 2 configurations"),
        (["a", "b"], {"restores": ["c"]}, "restores has 1 entries"),
        (["a", "b"], {"batched": 0}, "batched is 0, but must be"),
        (["a", "b"], {"stop_after": 0}, "stop_after is 0"),
        (["a", "b"], {"restores": [None, "c"]}, "c.* holds no run"),
        (["a", "taken"], {}, "taken holds a run already"),
    ],
)
def test_unusable_arguments_are_refused_and_nothing_is_written(
    folders, options, message, cells, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    configs = with_each({}, {"seed": 1})
    with pytest.raises(ValueError, match=message):
        run_retrainings(cells, configs, folders, **{"batched": "on", **options})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(ValueError, match="no configuration"):
        run_retrainings(cells, [])


@pytest.mark.parametrize("value", ["0", "-1", "gpu", "1.5"])
def test_a_bad_value_of_batched_ends_with_2(value, cells, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["retrain", "--genotype", cells, "--seeds", "2", "--out", str(out)]
    try:
        code = main([*command, "--batched", value])
    except SystemExit as end:  # of the parser
        code = end.code
    assert code == 2 and not out.exists()
    assert "--batched" in capsys.readouterr().err


def test_auto_trains_one_after_another_on_a_cpu_and_batches_elsewhere(
    cells, monkeypatch
):
    ways, notes = [], []

    def way(name, ending):
        def run(call, width=None):
            ways.append((name, width))
            return ending(call)

        return run

    none = retrainings.Ending(None)
    alone = way("alone", lambda call: ([none] * len(call.configs), 1))
    batch = way("batch", lambda call: ([none] * len(call.configs), 2))
    monkeypatch.setattr(retrainings, "_one_by_one", alone)
    monkeypatch.setattr(retrainings, "_batches", batch)
    configs = with_each({}, {"seed": 1})
    run_retrainings(cells, configs)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    run_retrainings(cells, configs)
    run_retrainings(cells, configs[:1])
    run_retrainings(cells, with_each({}, {"epochs": 4}), log=notes.append)
    run_retrainings(cells, configs * 2, batched=3)
    assert ways == [
        *(("alone", None), ("batch", None), ("alone", None), ("alone", None)),
        ("batch", 2),
    ]
    assert len(notes) == 1 and "epochs differs" in notes[0]


# --- whole retrainings


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """Batches of one shape share compiled programs, whatever their members are."""
    compiled = retrainings.compiled_programs
    kept = {}

    def from_kept(batch, shape):
        key = shape, batch.runs[0].config.stream
        if key not in kept:
            kept[key] = compiled(batch, shape)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrainings, "compiled_programs", from_kept)
        yield kept


def trained(cells, folder, *changes, **options):
    """Trains together, in directories named by position."""
    configs = with_each(*(changes or CHANGES))
    folders = [folder / str(index) for index in range(len(configs))]
    return folders, run_retrainings(
        cells, configs, folders, **{"batched": "on", **options}
    )


@pytest.fixture(scope="module")
def undisturbed(cells, tmp_path_factory):
    """The three members of a batch that nothing disturbed."""
    seen = []
    folders, result = trained(
        cells,
        tmp_path_factory.mktemp("undisturbed"),
        on_epoch=lambda index, record: seen.append((index, record)),
    )
    return folders, result, seen


@pytest.mark.slow
def test_every_member_is_an_ordinary_run(undisturbed):
    folders, result, seen = undisturbed
    assert result.width == 3 and not result.errors
    assert [index for index, _ in seen] == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    for index, (folder, own) in enumerate(zip(folders, result.results, strict=True)):
        again = load_network(folder)
        assert again.summary == own.summary and again.digest == own.digest
        assert again.records == [record for i, record in seen if i == index]
        chex.assert_trees_all_equal(again.variables, own.variables)
        stored = records.read_object(folder / "environment.json")["batch"]
        assert (stored["members"], stored["position"]) == (3, index)
        assert stored["runs"] == list(map(str, folders))
        names = {path.name for path in folder.iterdir()}
        assert {"genotype.json", "genotype.svg", "model.json", "checkpoints"} <= names
    seconds = {own.records[-1]["seconds"] for own in result.results}
    assert len(seconds) == 1  # equal shares of the time of the batch


@pytest.mark.slow
def test_a_member_is_evaluated_as_a_network_alone(undisturbed, capsys):
    """The recorded loss is that of the network by itself, bit for bit."""
    folders, result, _ = undisturbed
    own = result.results[1]
    program = make_logits(own.network, own.metadata.scale, own.metadata.image_shape)
    test = make_test_split(load_data(own.config)[0], own.config)
    found = score(predict(program, own.variables, test.images), test.labels)
    assert own.records[-1]["test_loss"] == found.loss
    assert main(["evaluate", str(folders[1]), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recorded_test_error"] == said["test_error"] == found.error


@pytest.mark.slow
@pytest.mark.parametrize("index", [1, 2])
def test_a_member_is_the_same_retraining_alone(index, undisturbed, cells):
    """To rounding, in every epoch; with its own seed and its own numbers."""
    (config,) = with_each(CHANGES[index])
    alone, own = run_retraining(cells, config), undisturbed[1].results[index]
    for line, expected in zip(own.records, alone.records, strict=True):
        assert line.keys() == expected.keys()
        for name, value in expected.items():
            if name not in ("seconds", "digest") and value is not None:
                np.testing.assert_allclose(line[name], value, rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(own.variables, alone.variables, rtol=1e-2, atol=1e-3)
    others = {r.records[0]["train_loss"] for r in undisturbed[1].results}
    assert len(others) == 3


@pytest.mark.slow
def test_no_member_depends_on_the_others(undisturbed, cells, tmp_path):
    """Not on their number or their values, bit for bit."""
    neighbour = {"seed": 9, "learning_rate": 3.0, "momentum": 0.1}
    changes = [CHANGES[0], neighbour, CHANGES[2]]
    folders, _ = trained(cells, tmp_path, *changes)
    found, expected = digests(folders), digests(undisturbed[0])
    assert found[::2] == expected[::2] and found[1] != expected[1]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_its_member_alone(undisturbed, cells, tmp_path):
    notes = []
    bad = {**CHANGES[1], "learning_rate": 1e9, "clip_norm": 1e30}
    changes = [CHANGES[0], bad, CHANGES[2]]
    folders, result = trained(cells, tmp_path, *changes, log=notes.append)
    assert list(result.errors) == [1] and result.results[1] is None
    assert notes == [f"{folders[1]}: {result.errors[1]}"]
    assert "loss is" in notes[0] and "epoch 0" in notes[0]
    assert not (folders[1] / "summary.json").exists()
    assert digests(folders)[::2] == digests(undisturbed[0])[::2]


@pytest.mark.slow
def test_the_last_good_checkpoint_of_a_member_that_ends_early_stays(
    undisturbed, cells, tmp_path
):
    trained(cells, tmp_path, stop_after=2)
    find_start = retrain_batch.find_start

    def spoilt(run, *arguments, **options):
        start = find_start(run, *arguments, **options)
        if run.config.seed != 1:
            return start
        params = jax.tree.map(lambda leaf: leaf * jnp.nan, start.state.params)
        return start._replace(state=start.state.replace(params=params))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain_batch, "find_start", spoilt)
        folders, result = trained(cells, tmp_path, resume=True, log=lambda text: None)
    assert "epoch 2; last good checkpoint: step" in str(result.errors[1])
    assert [len(lines) for lines in digests(folders)] == [3, 2, 3]
    kept = load_network(folders[1]).variables
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(kept))
    assert digests(folders)[::2] == digests(undisturbed[0])[::2]


class KilledError(Exception):
    """Stands for the death of the process."""


@pytest.mark.slow
@pytest.mark.parametrize("writes", [1, 4])
def test_a_batch_killed_between_two_checkpoints_ends_the_same(
    writes, undisturbed, cells, tmp_path
):
    """With members an evaluation apart, and records that have no checkpoint."""
    save, count = loop.save, []

    def dies(run, state):
        count.append(run)
        if len(count) > writes:
            raise KilledError
        save(run, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save", dies)
        with pytest.raises(KilledError):
            trained(cells, tmp_path)
    folders = [tmp_path / str(index) for index in range(3)]
    steps = [len(checkpoint.steps(folder / "checkpoints")) for folder in folders]
    assert sorted(steps) == {1: [0, 0, 1], 4: [1, 1, 2]}[writes]
    trained(cells, tmp_path, resume=True)
    for folder, expected in zip(folders, undisturbed[0], strict=True):
        found, lines = (
            records.read(each / "metrics.jsonl") for each in (folder, expected)
        )
        assert without_time(found) == without_time(lines)


@pytest.mark.slow
@pytest.mark.parametrize("calls, step", [(1, 5), (5, 21)])
def test_a_batch_interrupted_within_an_epoch_ends_the_same(
    calls, step, undisturbed, cells, tmp_path
):
    original, seen = member_loop._run_steps, []

    def interrupting(*arguments):
        seen.append(arguments)
        if len(seen) == calls:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member_loop, "_run_steps", interrupting)
        with pytest.raises(Interrupted):
            trained(cells, tmp_path, log=lambda text: None)
    for index in range(3):
        assert checkpoint.steps(tmp_path / str(index) / "checkpoints")[-1] == step
    folders, result = trained(cells, tmp_path, resume=True)
    assert digests(folders) == digests(undisturbed[0]) and not result.errors


@pytest.mark.slow
def test_members_start_from_other_runs(undisturbed, cells, tmp_path):
    first, _ = trained(cells, tmp_path / "first", stop_after=2)
    folders, result = trained(cells, tmp_path / "forks", restores=first)
    assert digests(folders) == digests(undisturbed[0])
    assert [len(own.records) for own in result.results] == [3, 3, 3]
    stored = [records.read_object(folder / "restored.json") for folder in folders]
    assert [origin["run"] for origin in stored] == list(map(str, first))


@pytest.mark.slow
def test_streamed_images_give_the_same_members(undisturbed, cells, tmp_path):
    """Each member has its own order, whoever reads the images."""
    changes = [{**each, "stream": True} for each in CHANGES]
    folders, _ = trained(cells, tmp_path, *changes)
    for folder, expected in zip(folders, undisturbed[0], strict=True):
        found, lines = (
            records.read(each / "metrics.jsonl") for each in (folder, expected)
        )
        losses = [[line["train_loss"] for line in each] for each in (found, lines)]
        np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.longest
def test_a_table_of_seeds_killed_and_resumed_is_that_of_an_undisturbed_one(
    cells, tmp_path, capsys
):
    words = [w for pair in SETTINGS.items() for w in ("--set", "{}={}".format(*pair))]
    command = ["retrain", "--genotype", cells, *words, "--seeds", "3", "--batched"]
    assert main([*command, "--out", str(tmp_path / "straight")]) == 0
    printed = capsys.readouterr()
    table = (tmp_path / "straight" / "table.md").read_text()
    assert printed.out == f"{table}Run: {tmp_path / 'straight'}\n"
    assert "| mean |" in table
    assert "seed 2: epoch   3/3" in printed.err + printed.out
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *command, "--out", str(tmp_path / "killed")],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "killed" / "table.md").exists()
    assert main([*command, "--out", str(tmp_path / "killed"), "--resume"]) == 0
    folders = [
        [tmp_path / n / f"seed{s}" for s in range(3)] for n in ("killed", "straight")
    ]
    assert digests(folders[0]) == digests(folders[1])
    totals = [
        json.loads((tmp_path / name / "summary.json").read_text())["rows"]
        for name in ("killed", "straight")
    ]
    errors = [[row["test_error_last"] for row in rows] for rows in totals]
    assert errors[0] == errors[1] and len(errors[0]) == 3
    bad = ["--set", "learning_rate=1e9", "--set", "clip_norm=1e30"]
    capsys.readouterr()
    assert main([*command, *bad, "--out", str(tmp_path / "bad")]) == 1
    said = capsys.readouterr()
    assert "seed2: The training loss is" in said.err and not said.out
