"""The command line: runs, resumes, and refuses, as a person would meet it."""

import errno
import itertools
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import zipfile

import filelock
import jax
import numpy as np
import pytest
import small_methods
import tiny_search

from egnas_jax.cli.console import use_compilation_cache
from egnas_jax.cli.main import main
from egnas_jax.nn import lowering
from egnas_jax.runs import out_of_memory, search_setup
from egnas_jax.runs.directory import check_free
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.settings import assignments
from egnas_jax.space import zoo
from egnas_jax.storage import checkpoint, records
from egnas_jax.strategies import STRATEGIES
from egnas_jax.training import interrupt, program_cache, program_store
from egnas_jax.training.out_of_memory import OutOfMemoryError

# Between the record of epoch 1 and its checkpoint.
KILLED_IN_EPOCH_1 = f"""
import os
import signal
import sys

from egnas_jax.cli.main import main
from egnas_jax.space import SPACES, Space
from egnas_jax.storage import records

SPACES["tiny"] = {tiny_search.SPACE!r}
append = records.append


def append_and_end(path, record):
    append(path, record)
    if record["epoch"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)


records.append = append_and_end
sys.exit(main())
"""
OF_EGNAS = ("strategy.population", "strategy.fitness_batch_size")
TINY = [
    *("--space", "tiny", "--set", "epochs=3"),
    *tiny_search.words(
        {k: v for k, v in tiny_search.SETTINGS.items() if k not in OF_EGNAS}
    ),
]
SMALL = tiny_search.words({name: tiny_search.SETTINGS[name] for name in OF_EGNAS})


@pytest.fixture(scope="module", autouse=True)
def space():
    with tiny_search.registered_space():
        yield


def digests(folder):
    return [line["digest"] for line in records.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def straight_and_compiled(tmp_path_factory, logged_compilations):
    folder = tmp_path_factory.mktemp("straight") / "run"
    more = ["--set", "tensorboard=true"]  # may differ from what resumes below
    with logged_compilations() as names, pytest.MonkeyPatch.context() as patch:

        def append(path, line):
            names.append("epoch")
            appended(path, line)

        appended = records.append
        patch.setattr(records, "append", append)
        # another test of this process may have compiled the same search
        patch.setattr(program_cache, "_REMEMBERED", {})
        patch.setattr(program_store, "cache_folder", lambda: None)
        assert main(["search", *TINY, *SMALL, *more, "--out", str(folder)]) == 0
    return folder, names


@pytest.fixture(scope="module")
def straight(straight_and_compiled):
    """A finished tiny search."""
    return straight_and_compiled[0]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The same search, ended after its first epoch."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    command = ["search", *TINY, *SMALL, "--out", str(folder), "--stop-after", "1"]
    assert main(command) == 0
    return folder


@pytest.mark.slow
def test_a_run_directory_holds_what_is_promised(straight, capsys):
    names = {path.name for path in straight.iterdir()}
    assert names >= {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoints",
        "genotype.json",
        "genotype.svg",
        "summary.json",
    }
    lines = records.read(straight / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert {
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_accuracy",
        "learning_rate",
        "seconds",
        "digest",
        "fitness",
    } <= set(lines[0])
    # the weights: a forward and backward pass of each image of five batches of 128
    trained = {3 * 5 * 128}
    assert {line["weight_cost"] for line in lines} == trained
    assert [line["search_cost"] for line in lines] == [
        line["candidate_images"] for line in lines
    ]
    environment = json.loads((straight / "environment.json").read_text())
    assert {
        "versions",
        "platform",
        "device_kind",
        "device_count",
        "mesh",
        "flags",
        "git",
    } <= set(environment)
    flags = environment["flags"]
    assert flags["OPENBLAS_CORETYPE"] == os.environ.get("OPENBLAS_CORETYPE", "")
    assert flags["compiler_options"] == lowering.compiler_options()
    # warm-up lasts one epoch
    assert lines[0]["fitness"] is None and lines[1]["fitness"] is not None
    np.testing.assert_allclose(lines[1]["learning_rate"], 0.0375, rtol=1e-6)
    summary = json.loads((straight / "summary.json").read_text())
    assert summary["weight_cost"] == 3 * 3 * 5 * 128
    assert summary["search_cost"] == sum(line["search_cost"] for line in lines) > 0
    assert summary["valid_accuracy"] == lines[-1]["valid_accuracy"]
    assert summary["genotype"] == lines[-1]["genotype"]
    # three primitives
    assert all(0 < line["entropy_normal"] <= np.log(3) for line in lines)
    assert lines[-1]["population_fitness_min"] == lines[-1]["fitness"]
    assert main(["derive", str(straight)]) == 0
    assert capsys.readouterr().out.strip() == summary["genotype"]


def test_a_search_compiles_three_programs_once_each(straight_and_compiled):
    _, names = straight_and_compiled
    programs = ("jit(train_steps)", "jit(evolve)", "jit(validate)")
    assert [names.count(program) for program in programs] == [1, 1, 1]
    # One more every epoch would cost its compilation every epoch.
    assert names[names.index("epoch") :][:3] == 3 * ["epoch"]
    # Before it some 80 little ones, most a copy or zeros of one leaf's shape: 6 ms
    # each. Where other tests came first in this process, some are there already.
    assert len(names) <= 95


def test_a_run_that_was_stopped_and_resumed_is_the_same(straight, stopped, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    assert main([*command, "--resume"]) == 0
    assert digests(folder) == digests(straight)


def scalars(folder):
    """(name, value, epoch) of every scalar in the event files, by their format."""
    from tensorboardX.proto import event_pb2

    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                yield value.tag, value.simple_value, event.step


def test_tensorboard_gets_the_numbers_of_the_records(straight, stopped):
    written = {(name, epoch): value for name, value, epoch in scalars(straight)}
    for line in records.read(straight / "metrics.jsonl"):
        for name in ("train_loss", "valid_accuracy", "learning_rate", "seconds"):
            np.testing.assert_allclose(
                written[name, line["epoch"]], line[name], rtol=1e-6
            )
    assert not (stopped / "tensorboard").exists()


def test_traces_of_steady_calls_are_written_and_change_nothing(straight, tmp_path):
    traces, out = tmp_path / "traces", tmp_path / "run"
    command = ["search", *TINY, *SMALL, "--stop-after", "2"]
    assert main([*command, "--profile", str(traces), "--out", str(out)]) == 0
    assert digests(out) == digests(straight)[:2]
    for program in ("train", "validate", "evolve"):
        assert list((traces / program / "0").rglob("*.xplane.pb"))
    assert list((traces / "train" / "1").rglob("*.xplane.pb"))
    assert not (traces / "validate" / "1").exists()  # once an epoch


def test_a_run_too_short_for_traces_is_refused(tmp_path, capsys):
    out = tmp_path / "run"
    command = ["search", *TINY, "--stop-after", "1", "--profile", str(tmp_path / "p")]
    assert main([*command, "--out", str(out)]) == 2
    assert "traces epoch 2" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_out_of_memory_says_what_to_lower_and_the_run_goes_on(
    stopped, tmp_path, capsys
):
    """100,000 individuals at a time are more than any machine that runs this holds."""
    huge, out = tmp_path / "huge", tmp_path / "run"
    shutil.copytree(stopped, tmp_path / "start")
    many = [
        "--set",
        "strategy.population=100000",
        "--set",
        "strategy.evolution=open_es",
        "--set",
        "strategy.fitness_batch_size=512",
        "--set",
        "strategy.population_chunk=100001",
    ]
    fork = ["--restore", str(tmp_path / "start")]
    assert main(["search", *TINY, *many, *fork, "--out", str(huge)]) == 1
    first, second, third = capsys.readouterr().err.splitlines()[-3:]
    assert "Out of memory in evolve" in first
    assert "Lower strategy.population_chunk to 50001 " in second
    assert f"--restore {huge} --set strategy.population_chunk=50001" in third
    assert checkpoint.steps(huge / "checkpoints")
    go_on = ["--restore", str(huge), "--set", "strategy.population_chunk=2"]
    assert main(["search", *TINY, *SMALL, *go_on, "--out", str(out)]) == 0


BY_NASWOT = "strategy.fitness=proxy:naswot"


@pytest.mark.parametrize(
    "program, settings, expected",
    [
        ("train", [], "batch_size=64"),
        ("validate", [], "validation_chunk=16"),  # of 32, a CPU's default
        ("validate", ["validation_chunk=5"], "validation_chunk=3"),
        ("evolve", [], "strategy.fitness_batch_size=16"),  # one at a time by default
        ("evolve", ["strategy.batch_stats=running"], "strategy.image_chunk=16"),
        ("evolve", ["strategy.population_chunk=9"], "strategy.population_chunk=3"),
        (
            "evolve",  # batch_stats has no effect here, and image_chunk is refused
            [BY_NASWOT, "strategy.batch_stats=running"],
            "strategy.fitness_batch_size=16",
        ),
        (
            "evolve",
            [BY_NASWOT, "strategy.population_chunk=9"],
            "strategy.population_chunk=3",
        ),
    ],
)
def test_every_program_has_a_setting_to_lower(
    program, settings, expected, tmp_path, straight
):
    sizes = ["batch_size=128", "strategy.population=4"]
    own = search_config(settings=assignments([*sizes, *settings]))
    prepared = set_up_search(own, folder=tmp_path).run
    error = OutOfMemoryError(program, "too much")
    text = out_of_memory.search_advice(error, config=own, run=prepared)
    assert f"--set {expected} and another --out" in text
    assert "No epoch was finished" in text and len(text.splitlines()) == 3
    saved = out_of_memory.search_advice(
        error, config=own, run=prepared._replace(folder=straight)
    )
    assert f"--restore {straight} --set {expected}" in saved


@pytest.mark.parametrize("images, is_advised", [(4, True), (3, True), (2, False)])
def test_a_proxy_is_not_advised_fewer_images_than_it_needs(
    images, is_advised, tmp_path
):
    sizes = ["batch_size=128", "strategy.population=4", BY_NASWOT]
    sizes.append(f"strategy.fitness_batch_size={images}")
    config = search_config(settings=assignments(sizes))
    prepared = set_up_search(config, folder=tmp_path).run
    error = OutOfMemoryError("evolve", "too much")
    text = out_of_memory.search_advice(error, config=config, run=prepared)
    assert ("--set strategy.fitness_batch_size=2 " in text) == is_advised


def test_a_missing_tensorboard_is_said_before_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    out = tmp_path / "run"
    command = ["search", "--set", "tensorboard=true", "--out", str(out)]
    assert main(command) == 2
    assert "egnas-jax[tensorboard]" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_restored_from_another_goes_on_bit_for_bit(
    straight, stopped, tmp_path, capsys
):
    folder = tmp_path / "fork"
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    assert main([*command, "--restore", str(stopped), "--stop-after", "2"]) == 0
    assert main([*command, "--resume"]) == 0
    assert digests(folder) == digests(straight)
    origin = json.loads((folder / "restored.json").read_text())
    assert origin["epoch"] == 1 and origin["digest"] == digests(stopped)[0]
    capsys.readouterr()
    assert main([*command, "--resume", "--restore", str(straight)]) == 2
    assert f"not from {straight}" in capsys.readouterr().err
    assert main(["verify", str(folder)]) == 0
    assert "Epochs 3 to 3 were replayed; every" in capsys.readouterr().out
    assert main(["verify", str(folder), "--from-start"]) == 2
    assert "Verify that run" in capsys.readouterr().err


def damage(folder):
    """Makes every checkpoint of a run unreadable."""
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("lost", ["damaged", "gone"])
def test_a_fork_without_a_whole_checkpoint_goes_back_to_its_origin(
    lost, stopped, tmp_path, capsys
):
    folder = tmp_path / "fork"
    # of another seed, so that starting anew would be seen
    command = ["search", *TINY, *SMALL, "--set", "seed=5", "--out", str(folder)]
    assert main([*command, "--restore", str(stopped), "--stop-after", "2"]) == 0
    first = digests(folder)
    assert first[0] == digests(stopped)[0]
    if lost == "gone":
        shutil.rmtree(folder / "checkpoints")
        (folder / "metrics.jsonl").unlink()
    else:
        damage(folder)
    capsys.readouterr()
    assert main([*command, "--resume", "--stop-after", "2"]) == 0
    assert ("Starting over" in capsys.readouterr().err) == (lost == "damaged")
    assert digests(folder) == first


def test_a_fork_is_checkpointed_at_once_and_needs_its_origin_no_more(
    straight, stopped, tmp_path
):
    origin, folder = tmp_path / "origin", tmp_path / "fork"
    shutil.copytree(stopped, origin)
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    assert main([*command, "--restore", str(origin), "--stop-after", "1"]) == 0
    shutil.rmtree(origin)
    assert main([*command, "--resume"]) == 0
    assert digests(folder) == digests(straight)


def test_resume_refuses_what_does_not_belong_to_the_run(stopped, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    command = ["search", *TINY, *SMALL, "--out", str(folder), "--resume"]
    assert main([*command, "--restore", "/no/run"]) == 2
    assert "started from nothing, not from /no/run" in capsys.readouterr().err
    (folder / "restored.json").write_text("{}")
    assert main(command) == 2
    assert "restored.json was altered" in capsys.readouterr().err
    (folder / "restored.json").unlink()
    (folder / "metrics.jsonl").unlink()
    assert main(command) == 2
    assert "holds 0 records" in capsys.readouterr().err
    stored = json.loads((folder / "config.json").read_text())
    records.write_json(folder / "config.json", stored | {"epochs": 4.5})
    assert main(command) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_run_never_goes_on_with_other_data(stopped, tmp_path, capsys, monkeypatch):
    def one_label_changed(*arguments):
        dataset = run_data(*arguments)
        labels = dataset.labels.copy()
        labels[0] += 1
        return dataset._replace(labels=labels)

    run_data = search_setup.load_dataset
    monkeypatch.setattr(search_setup, "load_dataset", one_label_changed)
    command = ["search", *TINY, *SMALL, "--out", str(stopped), "--resume"]
    assert main(command) == 2
    assert "another configuration: data.digest" in capsys.readouterr().err
    assert main(["verify", str(stopped)]) == 2
    assert "not those that data.digest names" in capsys.readouterr().err
    wrong = ["--set", "data.digest=" + "0" * 64, "--out", str(tmp_path / "run")]
    assert main(["search", *wrong]) == 2
    assert "not those that data.digest names" in capsys.readouterr().err


def test_one_run_directory_takes_one_process(stopped, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    before = (folder / "environment.json").read_bytes()
    with filelock.FileLock(folder / ".lock"):
        command = ["search", *TINY, *SMALL, "--out", str(folder), "--resume"]
        assert main(command) == 2
    assert "Another process is writing" in capsys.readouterr().err
    assert (folder / "environment.json").read_bytes() == before


def test_a_run_killed_before_its_configuration_was_written_can_go_on(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.json.tmp99").touch()
    check_free(folder, resume=True)
    check_free(folder, resume=False)
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match="not empty and holds no run"):
        check_free(folder, resume=True)


def test_a_restored_run_may_have_other_settings_but_no_other_shapes(
    straight, tmp_path, capsys
):
    folder = tmp_path / "fork"
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    command += ["--restore", str(straight)]
    for more, said in (
        ([], "has 3 epochs and this run will have 3"),
        (["--set", "supernet.channels=8"], "cannot be restored"),
        (["--strategy", "darts"], "cannot be restored"),
        (["--restore", str(tmp_path)], "holds no run"),
    ):
        changed = [*command, *more]
        if "darts" in more:
            changed = ["search", *TINY, *more, *command[-4:]]
        assert main(changed) == 2
        assert said in capsys.readouterr().err
        assert not folder.exists()
    assert main([*command, "--set", "epochs=4", "--set", "strategy.eta=0.1"]) == 0
    assert digests(folder)[:3] == digests(straight)
    assert len(digests(folder)) == 4


@pytest.mark.slow
def test_resume_after_sigkill_gives_the_same_digests(straight, tmp_path):
    folder = tmp_path / "run"
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    process = subprocess.run(
        [sys.executable, "-c", KILLED_IN_EPOCH_1, *command],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).resolve().parents[2],
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert digests(folder) == digests(straight)[:2]
    assert checkpoint.steps(folder / "checkpoints") == [6]  # epoch 0, five steps
    assert main([*command, "--resume"]) == 0
    assert digests(folder) == digests(straight)


# An epoch has five weight steps in three calls. The loop looks for a signal after each
# call and after the epoch, so that it sees one at the look that follows its arrival.
@pytest.mark.parametrize(
    "number, looks_before, newest_checkpoint",
    [(signal.SIGINT, 3, 6), (signal.SIGTERM, 5, 6 + 4)],
    ids=["between epochs", "within an epoch"],
)
def test_a_signal_writes_a_checkpoint_and_exits_with_130(
    number, looks_before, newest_checkpoint, straight, tmp_path, capsys, monkeypatch
):
    folder, looks = tmp_path / "run", itertools.count(1)
    command = ["search", *TINY, *SMALL, "--out", str(folder)]
    any_process = interrupt.any_process

    def look(seen):
        if next(looks) == looks_before:
            signal.raise_signal(number)
        return any_process(seen)

    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "any_process", look)
        assert main(command) == 130
    assert "a checkpoint was written" in capsys.readouterr().err
    assert digests(folder) == digests(straight)[:1]
    assert checkpoint.steps(folder / "checkpoints")[-1] == newest_checkpoint
    assert main([*command, "--resume"]) == 0
    assert digests(folder) == digests(straight)


def test_verify_replays_from_the_oldest_checkpoint_or_the_start(
    straight, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    assert main(["verify", str(folder)]) == 0
    assert "Epochs 3 to 3 were replayed; every" in capsys.readouterr().out
    lines = records.read(folder / "metrics.jsonl")
    lines[1]["digest"] = "0" * 64
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert main(["verify", str(folder), "--from-start"]) == 1
    said = capsys.readouterr()
    assert "epoch 1: 000000000000 was recorded" in said.err
    assert "Epochs 1 to 3 were replayed; 1 came out different." in said.out
    (folder / "metrics.jsonl").write_text(json.dumps(lines[0]) + "\n")  # cut short
    for _ in range(2):  # as the checkpoints tell, and without them the summary
        assert main(["verify", str(folder)]) == 2
        assert "holds 1 records, but the run has finished 3" in capsys.readouterr().err
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


@pytest.mark.parametrize(
    "part, function", [(checkpoint, "_write"), (records, "append")]
)
def test_a_disk_that_fills_ends_with_1_and_loses_nothing(
    part, function, straight, stopped, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    command = ["search", *TINY, *SMALL, "--out", str(folder), "--resume"]
    with monkeypatch.context() as full:

        def no_space(*arguments, **named):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

        full.setattr(part, function, no_space)
        assert main(command) == 1
    said = capsys.readouterr().err
    assert "No space left" in said and "--resume" in said
    assert checkpoint.steps(folder / "checkpoints") == checkpoint.steps(
        stopped / "checkpoints"
    )
    assert main(command) == 0
    assert digests(folder) == digests(straight)


@pytest.mark.parametrize("place", ["file", "proc"])
def test_a_directory_that_cannot_be_written_is_refused(place, tmp_path, capsys):
    (tmp_path / "file").touch()
    out = {"file": tmp_path / "file" / "run", "proc": pathlib.Path("/proc/run")}[place]
    assert main(["search", *TINY, "--out", str(out)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert not out.exists()


def test_a_resume_that_runs_nothing_leaves_word_of_who_ran_it(straight, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(straight, folder)
    records.write_json(folder / "environment.json", {"time": "then"})
    command = ["search", *TINY, *SMALL, "--out", str(folder), "--resume"]
    assert main(command) == 0
    assert json.loads((folder / "environment.json").read_text()) == {"time": "then"}


def test_a_taken_directory_and_another_configuration_are_refused(straight, capsys):
    command = ["search", *TINY, *SMALL, "--out", str(straight)]
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "epochs=4"]) == 2
    assert "epochs: 3 -> 4" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        ["--variant", "official", *SMALL],
        ["--strategy", "random_search", "--set", "strategy.candidates=4"],
        ["--strategy", "darts"],
        *(
            pytest.param(
                [
                    "--strategy",
                    name,
                    *tiny_search.words(small_methods.settings_of(name)),
                ],
                marks=pytest.mark.longest,
            )
            for name in sorted(set(STRATEGIES) - {"egnas", "random_search", "darts"})
        ),
    ],
)
def test_every_other_method_runs_from_images_to_a_genotype(strategy, tmp_path, capsys):
    command = ["search", *TINY, "--set", "epochs=2", "--out", str(tmp_path / "run")]
    assert main([*command, *strategy, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["genotype"].startswith("Genotype(normal=[(")
    assert 0 < summary["valid_accuracy"] <= 1


def test_a_nan_loss_names_the_epoch(tmp_path, capsys):
    command = ["search", *TINY, *SMALL, "--set", "learning_rate=1e30"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    assert "in epoch 0; last good checkpoint: none" in capsys.readouterr().err
    assert not (tmp_path / "run" / "summary.json").exists()


BAD = {
    "preset": (["--preset", "digit"], "Did you mean digits"),
    "variant": (["--variant", "papr"], "Did you mean paper"),
    "strategy": (["--strategy", "dart"], "Did you mean darts"),
    "space": (["--space", "darts9"], "Did you mean darts"),
    "path": (["--set", "epoch=3"], "Did you mean epochs"),
    "type": (["--set", "epochs=three"], "'three'"),
    "range": (["--set", "epochs=0"], "epochs is 0"),
    "nan": (["--set", "learning_rate=nan"], "learning_rate is nan"),
    "population": (["--set", "strategy.population=1"], "population is 1"),
    "channels": (["--set", "supernet.partial_channels=3"], "divisible"),
    "lowering": (["--set", "supernet.lowering=shiftd"], "Did you mean shifted"),
    "seeds": (["--seeds", "0"], "--seeds is 0"),
    "batch": (["--set", "batch_size=9999"], "batch_size is 9999"),
    "no data directory": (["--preset", "cifar10", "--data-dir", "/no"], "not exist"),
    "no equals": (["--set", "epochs"], "PATH=VALUE"),
    "another method's variant": (
        ["--strategy", "darts", "--variant", "official"],
        "one of EG-NAS",
    ),
    "classes": (["--set", "supernet.num_classes=7"], "of the data"),
    "seed beyond 32 bits": (["--set", f"seed={2**32}"], str(2**32)),
    "huge float": (["--set", "learning_rate=1e300"], "1e300"),
    "huge layers": (["--set", "supernet.layers=20000000"], "20000000"),
    "huge population": (["--set", "strategy.population=1000000000"], "1000000000"),
    "large fitness batch": (
        ["--set", "strategy.fitness_batch_size=100000"],
        "strategy.fitness_batch_size",
    ),
    "empty data directory": (["--data-dir", ""], "--data-dir is empty"),
    "data digest": (["--set", "data.digest=abc"], "64 hexadecimal digits"),
    "long path": (["--set", "data.path=" + "x" * 5000], "too long"),
    "no run to restore": (["--restore", "/no/run"], "holds no run"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_end_with_2_and_write_nothing(name, tmp_path, capsys):
    arguments, message = BAD[name]
    out = tmp_path / "run"
    assert main(["search", "--out", str(out), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert len(said.strip().split("\n")) <= 3
    assert not out.exists()


@pytest.mark.parametrize(
    "words, message",
    [
        ("--strategy p_darts --set strategy.stage_epochs=100,100,100", "stage_epochs"),
        ("--strategy p_darts --set epochs=2", "epochs is 2"),
        ("--strategy egnas --set schedule.order=strategy_first", None),
        (
            "--strategy darts --set schedule.order=strategy_first",
            "schedule.order is strategy_first",
        ),
        (
            "--strategy snas --space nasbench201 --set strategy.resource_penalty=0.1",
            "resource_penalty",
        ),
    ],
)
def test_a_configuration_is_printed_if_it_can_be_searched(words, message, capsys):
    code = main(["search", "--print-config", *words.split()])
    shown = capsys.readouterr()
    assert code == (0 if message is None else 2)
    assert not shown.err if message is None else message in shown.err


def test_the_lowering_is_a_setting_with_a_default(capsys):
    for more, lowered in (
        ([], "auto"),
        (["--set", "supernet.lowering=dense"], "dense"),
    ):
        assert main(["search", "--print-config", *more]) == 0
        assert json.loads(capsys.readouterr().out)["supernet"]["lowering"] == lowered
    assert main(["list", "lowerings"]) == 0
    assert (
        capsys.readouterr().out
        == "lowerings: auto, shifted, grouped, dense, matrix, fused\n"
    )


def image_file(folder, **changes):
    arrays = {"images": np.zeros((20, 8, 8, 1), np.uint8), "labels": np.arange(20) % 2}
    np.savez(folder / "own.npz", **(arrays | changes))
    return ["--set", f"data.path={folder / 'own.npz'}"]


IMAGES = {
    "no array": (None, "is not an array"),
    "side": (dict(images=np.zeros((20, 9, 8, 1), np.uint8)), "divisible by 4"),
    "type": (dict(images=np.zeros((20, 8, 8, 1))), "float64"),
    "negative": (dict(labels=np.arange(20) - 3), "-3"),
    "fractional": (dict(labels=np.arange(20) / 4), "0.25"),
    "count": (dict(labels=np.arange(19) % 2), "19"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_the_users_that_do_not_fit_are_refused(name, tmp_path, capsys):
    changes, message = IMAGES[name]
    out = tmp_path / "run"
    command = ["search", *image_file(tmp_path, **(changes or {})), "--out", str(out)]
    if changes is None:
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as file:
            file.writestr("images", b"pixels")
            file.writestr("labels", b"classes")
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"\x01" * 100, b"hello" * 10_000])
def test_data_files_that_are_not_whole_are_refused(content, tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(content)
    out = tmp_path / "run"
    command = ["search", "--preset", "cifar10", "--data-dir", str(tmp_path)]
    assert main([*command, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "data_batch_1.bin" in said and str(len(content)) in said
    assert not out.exists()


def test_arguments_that_cannot_be_parsed_end_with_2_in_two_lines(capsys):
    for arguments in (["search", "--seeds", "x"], ["data", "bogus"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 2 and "--help" in said[1]


def test_a_directory_without_a_run_is_refused(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["search", "--out", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_draw_takes_names_and_text_and_never_runs_code(tmp_path, capsys):
    out = tmp_path / "cell.svg"
    assert main(["draw", "DARTS_V2", "--out", str(out)]) == 0
    assert out.read_text().lstrip().startswith("<")
    trap = f"Genotype(normal=open('{tmp_path / 'run'}', 'w'))"
    named = tmp_path / "run (1)"
    named.mkdir()
    main(["draw", "DARTS_V2", "--out", str(named / "new" / "cell.svg")])
    assert (named / "new" / "cell.svg").exists()
    (named / "genotype.json").write_text(zoo["PDARTS"].genotype.to_json())
    assert main(["derive", str(named)]) == 0
    assert zoo["PDARTS"].genotype.format() in capsys.readouterr().out
    (named / "genotype.json").write_bytes(b"\xff\x00")
    assert main(["derive", str(named)]) == 2
    assert "run (1)/genotype.json" in capsys.readouterr().err
    assert main(["draw", trap, "--out", str(out)]) == 2
    assert not (tmp_path / "run").exists()
    capsys.readouterr()
    assert main(["draw", "DARTS_V9", "--out", str(out)]) == 2
    assert "DARTS_V2" in capsys.readouterr().err


GENOTYPES = {
    "primitive": ("('skip_connect', 1)", "('warp_conv', 1)", "warp_conv"),
    "forward edge": ("('skip_connect', 1)", "('skip_connect', 5)", "5"),
    "odd": ("('skip_connect', 1), ", "", "7"),
}


@pytest.mark.parametrize("name", GENOTYPES)
def test_genotypes_that_cannot_be_built_are_refused(name, tmp_path, capsys):
    old, new, message = GENOTYPES[name]
    half = (
        "[('sep_conv_3x3', 0), ('skip_connect', 1), "
        + ", ".join(["('max_pool_3x3', 0), ('dil_conv_3x3', 1)"] * 3)
        + "]"
    )
    text = (
        f"Genotype(normal={half.replace(old, new)}, normal_concat=range(2, 6), "
        f"reduce={half}, reduce_concat=range(2, 6))"
    )
    out = tmp_path / "cell.svg"
    assert (
        main(["draw", text.replace(half.replace(old, new), half), "--out", str(out)])
        == 0
    )
    out.unlink()
    assert main(["draw", text, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_several_seeds_are_listed_and_the_best_is_by_validation(tmp_path, capsys):
    command = ["search", *TINY, *SMALL, "--set", "epochs=1", "--seeds", "2"]
    assert main([*command, "--out", str(tmp_path / "runs"), "--json"]) == 0
    best = json.loads(capsys.readouterr().out)
    runs = best["runs"]
    assert [one["seed"] for one in runs] == [0, 1]
    assert best["valid_accuracy"] == max(one["valid_accuracy"] for one in runs)
    assert digests(tmp_path / "runs/seed0") != digests(tmp_path / "runs/seed1")
    # a taken folder is seen before the first of the searches
    shutil.rmtree(tmp_path / "runs/seed0")
    assert main([*command, "--out", str(tmp_path / "runs")]) == 2
    assert "seed1 holds a run already" in capsys.readouterr().err
    assert not (tmp_path / "runs/seed0").exists()


@pytest.mark.parametrize("has_home", [False, True])
def test_the_cache_is_in_the_home_folder_and_off_without_one(
    has_home, tmp_path, monkeypatch
):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    found = {}
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # as good as unset
    monkeypatch.setattr(
        pathlib.Path, "home", lambda: tmp_path if has_home else no_home()
    )
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    try:
        use_compilation_cache()
    finally:
        monkeypatch.undo()
        jax.config.update("jax_compilation_cache_dir", before)
    expected = str(tmp_path / ".cache/egnas_jax") if has_home else None
    assert found.get("jax_compilation_cache_dir") == expected
