"""`--plugin`: own methods and presets pass every command, and bad files are named."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import own_plugins
import pytest
from own_plugins import egnas, run_until_killed

from egnas_jax.cli import main as main_module
from egnas_jax.cli.main import main
from egnas_jax.storage import records
from egnas_jax.training import program_cache

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHOD = ["--preset", "constant_tiny", "--strategy", "constant"]
PRESET = 'import egnas_jax as eg\neg.register_preset("mine", {"epochs": 3})\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with a plug-in."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(own_plugins.CONSTANT_METHOD, tmp_path / "mine.py")
    return tmp_path


def test_a_plugin_is_named_before_or_after_the_command(folder, capsys):
    (folder / "other.py").write_text(PRESET)
    assert egnas("list", "presets") == 0
    assert "constant_tiny" not in capsys.readouterr().out
    assert egnas("--plugin", "mine.py", "list", "presets", "--plugin", "other") == 0
    names = capsys.readouterr().out
    assert "constant_tiny" in names and "mine" in names
    assert egnas("list", "--plugin", "mine.py", "--plugin", "./mine.py") == 0
    assert capsys.readouterr().out.count("constant_tiny") == 2  # of both commands


def test_primitives_are_listed_with_their_family(folder, capsys):
    lines = [
        "import egnas_jax as eg",
        "nothing = lambda *arguments: ({}, {})",
        'eg.register_primitive(eg.Primitive("own", nothing, nothing, family="pool"))',
    ]
    (folder / "other.py").write_text("\n".join(lines))
    assert egnas("list", "primitives", "--plugin", "other.py") == 0
    said = capsys.readouterr().out
    assert said.startswith("primitives: none (none), avg_pool_3x3 (pool), max_pool")
    assert said.endswith("own (pool)\n")


@pytest.mark.parametrize("command", main_module.HELP)
def test_every_command_takes_plugins(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert "--plugin MODULE|FILE.py" in said and "--allow-changed-plugin" in said


def test_the_configuration_of_ones_own_method_can_be_set(capsys):
    command = ["search", "--plugin", "mine.py", *METHOD, "--print-config"]
    assert egnas(*command, "--set", "strategy.sharpness=2") == 0
    config = json.loads(capsys.readouterr().out)
    assert config["strategy"] == {"sharpness": 2.0}
    assert (config["epochs"], config["supernet"]["space"]) == (2, "one_node")
    assert egnas("search", *METHOD, "--print-config") == 2
    assert "Unknown preset 'constant_tiny'" in capsys.readouterr().err


BAD = {
    "syntax": ("x = = 2\n", "bad.py:1: SyntaxError"),
    "error": ("import math\nmath.sqrt(-1)\n", "bad.py:2: math domain error"),
    "taken": (
        "import egnas_jax as eg\neg.register_preset('digits', {})\n",
        "bad.py:2: There is a preset 'digits'",
    ),
    "missing": (None, "'bad.py' does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_ends_with_2_and_writes_nothing(name, folder, capsys):
    text, words = BAD[name]
    if text is not None:
        (folder / "bad.py").write_text(text)
    before = set(folder.iterdir())
    assert egnas("search", "--plugin", "bad.py", "--out", "run") == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == "" and "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) <= 3
    assert set(folder.iterdir()) == before


def test_what_a_plugin_raises_in_a_run_is_named_with_its_line(folder, capsys):
    text = own_plugins.CONSTANT_METHOD.read_text()
    line = "    space = eg.SPACES[net.config.space]\n"
    (folder / "mine.py").write_text(text.replace(line, f"{line}    space.size\n"))
    assert egnas("search", "--plugin", "mine.py", *METHOD, "--out", "run") == 1
    number = text.splitlines().index(line.rstrip("\n")) + 2
    assert f"Raised in the plug-in, {folder}/mine.py:{number}." in (
        capsys.readouterr().err
    )
    assert not (folder / "run").exists()


def test_a_list_without_plugins_does_not_wait_for_jax():
    code = (
        "import sys; from egnas_jax.cli.main import main; main(['list']); "
        "assert not {'jax', 'flax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def digests(run):
    return [line["digest"] for line in records.read(pathlib.Path(run, "metrics.jsonl"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search, and a retraining of its genotype, with their plug-in."""
    folder = tmp_path_factory.mktemp("finished")
    file = shutil.copy(own_plugins.CONSTANT_METHOD, folder / "mine.py")
    run, trained = folder / "run", folder / "trained"
    assert egnas("search", "--plugin", file, *METHOD, "--out", run) == 0
    retrain = ["retrain", "--genotype", run, "--preset", "constant_tiny"]
    assert egnas(*retrain, "--out", trained) == 0
    return folder


@pytest.mark.slow
def test_a_run_with_a_plugin_passes_every_command(finished, capsys):
    run, trained = finished / "run", finished / "trained"
    for folder in (run, trained):
        (entry,) = records.read_object(folder / "plugins.json")["plugins"]
        assert entry["file"] == str(finished / "mine.py")
    commands = [
        ["verify", run, "--from-start"],
        ["derive", run],
        ["draw", run, "--out", "cell.svg"],
        ["noise", run, *"--candidates cells --individuals 3".split()]
        + "--batches 2 --batch-size 32 --out noise".split(),
        ["evaluate", trained, "--out", "evaluated"],
        ["export", trained, "--format", "safetensors", "--out", "net.safetensors"],
        ["report", run, trained, "--out", "report"],
        ["search", *METHOD, "--out", run, "--resume"],
        ["search", *METHOD, "--restore", run, "--set", "epochs=3", "--out", "longer"],
    ]
    for command in commands:
        assert egnas(*command) == 0, capsys.readouterr().err
    assert digests("longer")[:2] == digests(run)
    assert pathlib.Path("longer", "plugins.json").exists()
    # without their plug-in all of them say what is missing
    moved = (finished / "mine.py").rename(finished / "moved.py")
    capsys.readouterr()
    for command in commands:
        out = ["--out", "other"] if "--restore" in command else []
        assert egnas(*command, *out) == 2, command
        said = capsys.readouterr().err
        assert f"{finished}/mine.py" in said and "--plugin FILE" in said
    assert egnas("verify", run, "--plugin", moved) == 0
    moved.rename(finished / "mine.py")


@pytest.mark.slow
def test_a_changed_plugin_is_refused_by_every_command_unless_allowed(finished, capsys):
    file = finished / "mine.py"
    text = file.read_text()
    file.write_text(text.replace("UPDATES = 1.0", "UPDATES = 2.0"))
    run, trained = finished / "run", finished / "trained"
    commands = [
        ["verify", run],
        ["derive", run],
        ["evaluate", trained, "--out", "evaluated"],
        ["report", run, trained, "--out", "report"],
    ]
    try:
        for command in commands:
            assert egnas(*command) == 2
            assert "--allow-changed-plugin" in capsys.readouterr().err
            assert egnas(*command, "--allow-changed-plugin") == 0
    finally:
        file.write_text(text)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_plugin(finished, folder):
    command = ["search", *METHOD, "--out", "run"]
    run_until_killed(*command, "--plugin", "mine.py")
    assert egnas(*command, "--resume") == 0
    assert digests("run") == digests(finished / "run")


@pytest.mark.slow
def test_no_cache_serves_a_changed_plugin(folder, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    text = (folder / "mine.py").read_text()
    try:
        for value, stored, run in ((1.0, 3, "a"), (1.0, 3, "b"), (2.0, 6, "c")):
            changed = text.replace("UPDATES = 1.0", f"UPDATES = {value}")
            (folder / "mine.py").write_text(changed)
            monkeypatch.setattr(program_cache, "_REMEMBERED", {})
            command = ["search", "--plugin", "mine.py", *METHOD, "--out", run]
            assert egnas(*command) == 0
            updates = [line["updates"] for line in records.read(f"{run}/metrics.jsonl")]
            assert updates == [value, value]
            # an unchanged one is served from the disk
            assert len(list((folder / "cache" / "lowered").iterdir())) == stored
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
