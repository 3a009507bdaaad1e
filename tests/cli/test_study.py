"""`egnas sweep` and `egnas worker`: whole studies, and workers that are killed."""

import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_search

from egnas_jax.cli.main import main
from egnas_jax.runs.study.study_file import Unit, read_study, write_units
from egnas_jax.storage import claims, records
from egnas_jax.storage.claims import Claim, add_event, read_events

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKERS = 3
KILLS = 5
UNITS = 8  # four searches and a retraining of what each of them finds
PLAN = f"""
plugins = ["tiny.py"]
[settings]
batch_size = 128
steps_per_call = 2
[search]
space = "tiny"
seeds = 2
[search.settings]
epochs = 3  # of a search
strategy.warmup = 1
strategy.population = {tiny_search.SETTINGS["strategy.population"]}
strategy.fitness_batch_size = {tiny_search.SETTINGS["strategy.fitness_batch_size"]}
supernet.channels = {tiny_search.SETTINGS["supernet.channels"]}
supernet.layers = {tiny_search.SETTINGS["supernet.layers"]}
[search.sweep]
"strategy.eta" = [0.1, 0.6]
[retrain]
[retrain.settings]
epochs = 3
network = {{ channels = 4, layers = 3 }}
"""
PLUGIN = f"""
import egnas_jax as eg

Space = eg.Space
eg.register_space({tiny_search.SPACE!r})
"""
# Kills itself a random time after a random number of records.
MORTAL = """
import os, random, signal, sys, threading
from egnas_jax.cli.main import main
from egnas_jax.storage import records

chance = random.Random(sys.argv.pop(1))
left = [chance.randint(1, 4)]
append = records.append


def append_and_die_soon(path, record):
    append(path, record)
    left[0] -= 1
    if left[0] == 0:
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
        threading.Timer(chance.uniform(0, 0.2), kill).start()


records.append = append_and_die_soon
sys.exit(main())
"""


def environment():
    """Of the processes that a test starts."""
    return os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def start(*command, seed=None):
    """A process that runs a command of egnas; with a seed it kills itself."""
    program = ["-m", "egnas_jax"] if seed is None else ["-c", MORTAL, str(seed)]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, command)],
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process):
    """What a process printed that ended as it should."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "tiny.py").write_text(PLUGIN)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "plan.toml"


def results(study):
    """Of every unit: its digests, epoch by epoch, and what it found."""
    found = {}
    for unit in study.units:
        lines = records.read(study.run_folder(unit) / "metrics.jsonl")
        assert [line["epoch"] for line in lines] == list(range(3))
        genotype = (study.run_folder(unit) / "genotype.json").read_text()
        found[unit.run] = ([line["digest"] for line in lines], genotype)
    return found


@pytest.mark.longest
def test_workers_that_are_killed_lose_no_unit_and_run_none_twice(plan, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    finished(start("sweep", plan, "--out", alone))
    shutil.copytree(alone, together)
    finished(start("worker", alone))
    expected = results(read_study(alone))
    assert len(expected) == UNITS

    beats = ("--beat", "0.2", "--stale", "2")
    seeds = list(range(KILLS))
    mortal = [start("worker", together, *beats, seed=seeds.pop()) for _ in range(3)]
    deaths = 0
    while mortal:
        time.sleep(0.05)
        for process in [each for each in mortal if each.poll() is not None]:
            _, err = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), err
            mortal.remove(process)
            deaths += process.returncode != 0
            if seeds:
                mortal.append(start("worker", together, *beats, seed=seeds.pop()))
    assert deaths >= WORKERS
    last = [start("worker", together, *beats) for _ in range(WORKERS)]
    for process in last:
        assert f"{UNITS} units: {UNITS} done." in finished(process)

    study = read_study(together)
    assert results(study) == expected
    taken_over = 0
    for index in range(UNITS):
        kinds = [event.kind for event in read_events(study.events_folder(index))]
        assert kinds.count(claims.DONE) == 1 and kinds[-1] == claims.DONE
        assert set(kinds[:-1]) <= {claims.CLAIMED, claims.RELEASED}
        taken_over += kinds.count(claims.CLAIMED) - 1
    assert taken_over >= 2


@pytest.mark.slow
def test_a_terminated_worker_gives_its_unit_back_after_a_checkpoint(plan, tmp_path):
    folder = tmp_path / "study"
    plan.write_text(PLAN.replace("epochs = 3  #", "epochs = 2000  #"))
    finished(start("sweep", plan, "--out", folder))
    process = start("worker", folder, "--units", "1")
    study = read_study(folder)
    run = study.run_folder(study.units[0])
    deadline = time.monotonic() + 200
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "strategy.eta=0.1/seed0 was given back" in err and "Traceback" not in err
    kinds = [event.kind for event in read_events(study.events_folder(0))]
    assert kinds == [claims.CLAIMED, claims.RELEASED]
    assert any((run / "checkpoints").iterdir())

    plugin = tmp_path / "tiny.py"
    plugin.write_text(plugin.read_text() + "\n# changed\n")
    refused = start("worker", folder, "--units", "1")
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 2 and "--allow-changed-plugin" in err
    assert len(read_events(study.events_folder(0))) == 2


@pytest.mark.longest
def test_a_worker_that_was_paused_finds_its_unit_taken_and_leaves_it(plan, tmp_path):
    folder = tmp_path / "study"
    text = PLAN.replace("epochs = 3  #", "epochs = 60  #")
    plan.write_text(text.replace("seeds = 2", "seeds = 1").replace("0.1, ", ""))
    finished(start("sweep", plan, "--out", folder))
    study = read_study(folder)
    metrics = study.run_folder(study.units[0]) / "metrics.jsonl"
    events = study.events_folder(0)

    def wait_for(condition):
        deadline = time.monotonic() + 200
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    paused = start("worker", folder, "--units", "1")
    wait_for(metrics.exists)
    paused.send_signal(signal.SIGSTOP)
    other = start("worker", folder, "--beat", "0.3", "--stale", "3")
    # the lock of the run directory is still held: it gives the unit back
    wait_for(lambda: len(read_events(events)) >= 3)
    before = metrics.read_bytes()
    paused.send_signal(signal.SIGCONT)
    _, err = paused.communicate(timeout=60)
    assert paused.returncode == 0 and "gave no sign of life" in err
    assert metrics.read_bytes().startswith(before)
    assert "2 units: 2 done." in finished(other)
    lines = records.read(metrics)
    assert [line["epoch"] for line in lines] == list(range(60))
    kinds = [event.kind for event in read_events(events)]
    assert kinds[:3] == [claims.CLAIMED, claims.CLAIMED, claims.RELEASED]
    assert kinds[-2:] == [claims.CLAIMED, claims.DONE]


def test_a_plan_is_written_and_the_next_command_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("plan.toml").write_text("[search]\nseeds = 2\n[retrain]\nseeds = 3")
    assert main(["sweep", "plan.toml", "--out", "study"]) == 0
    said = capsys.readouterr().out
    assert "study holds 8 units: 2 searches, 6 retrainings." in said
    assert "egnas worker study" in said
    assert main(["worker", "study", "--status"]) == 0
    said = capsys.readouterr().out
    assert "| search/seed1 | ready | 0/12 |" in said
    assert "| retrain/seed1/seed2 | waiting | 0/30 |" in said
    assert "8 units: 2 ready, 6 waiting." in said


def unit(run, *needs):
    return Unit(run, "retrain" if needs else "search", needs, {"epochs": 2}, None)


@pytest.fixture
def ended(tmp_path):
    """A study in which one search is done and another has failed."""
    units = [unit("search/seed0"), unit("search/seed1")]
    write_units(tmp_path, [*units, unit("retrain/seed1/seed0", "search/seed1")])
    study = read_study(tmp_path)
    for index in range(2):
        assert add_event(study.events_folder(index), 1, claims.CLAIMED, {})
    Claim(study.events_folder(0), 1).end(claims.DONE)
    Claim(study.events_folder(1), 1).fail(FloatingPointError("nan\nat epoch 1"))
    return tmp_path


def test_a_worker_says_what_failed_and_ends_with_1(ended, capsys):
    assert main(["worker", str(ended)]) == 1
    said = capsys.readouterr().out
    assert "FloatingPointError: nan |" in said and "at epoch 1" not in said
    assert "search/seed0" not in said  # what is done needs nobody
    assert "| retrain/seed1/seed0 | blocked | 0/2 |" in said
    assert said.endswith("3 units: 1 done, 1 failed, 1 blocked.\n")


def test_the_state_of_a_study_as_json(ended, capsys):
    assert main(["worker", str(ended), "--status", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["done"], content["failed"], content["blocked"]) == (1, 1, 1)
    states = collections.Counter(each["state"] for each in content["units"])
    assert states == {"done": 1, "failed": 1, "blocked": 1}
    failed = content["units"][1]
    assert failed["message"] == "FloatingPointError: nan\nat epoch 1"
    assert failed["failures"] == 1 and failed["kind"] == "search"


def test_a_plan_of_too_many_seeds_is_refused(tmp_path, capsys):
    (tmp_path / "plan.toml").write_text("[search]\nseeds = 100000000")
    words = ["sweep", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "seeds is 100000000, but one configuration" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# arguments -> part of the message
BAD = {
    "unknown key": (["sweep", "plan.toml", "--out", "out"], "Did you mean seeds"),
    "no plan": (["sweep", "no.toml", "--out", "out"], "cannot be read"),
    "no directory": (["sweep", "plan.toml", "--out", ""], "--out is empty"),
    "no study": (["worker", "."], "holds no study"),
    "no tries": (["worker", ".", "--tries", "0"], "tries is 0"),
    "too early": (["worker", ".", "--stale", "5"], "Set stale to at least 30"),
    "no number": (["worker", ".", "--idle", "soon"], "invalid float value: 'soon'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_end_with_2_and_write_nothing(
    name, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan = pathlib.Path("plan.toml")
    plan.write_text("[search]\nseed = 2")
    arguments, message = BAD[name]
    try:
        code = main(arguments)
    except SystemExit as end:  # of the parser
        code = end.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == [tmp_path / plan]


def test_states_and_bad_plans_do_not_wait_for_jax(ended, tmp_path):
    (tmp_path / "plan.toml").write_text('[search]\npreset = "digit"')
    code = f"""
import sys
from egnas_jax.cli.main import main

assert main(["worker", {str(ended)!r}, "--status"]) == 0
assert main(["worker", {str(ended)!r}]) == 1
assert main(["sweep", {str(tmp_path / "plan.toml")!r}, "--out", "out"]) == 2
assert "jax" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
