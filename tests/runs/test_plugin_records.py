"""A run directory names its plug-ins, and they are loaded again from there."""

import json
import shutil

import own_plugins
import pytest

import egnas_jax as eg
from egnas_jax.runs import plugin_records
from egnas_jax.runs.genotype_source import plugins_of, read_genotype
from egnas_jax.runs.plugin_records import load_recorded, write_plugins
from egnas_jax.runs.plugins import loaded_plugins
from egnas_jax.runs.search_config import search_config
from egnas_jax.settings import as_dict
from egnas_jax.space import Space, zoo
from egnas_jax.storage import records
from egnas_jax.studies.report.runs import read_runs


@pytest.fixture(autouse=True)
def new_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugin_records, "_NOTES", set())
    with own_plugins.as_in_a_new_process():
        yield


@pytest.fixture
def file(tmp_path):
    """A plug-in that imports a module beside it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "near_words.py").write_text("WORD = 1\n")
    text = f"import near_words\n{own_plugins.CONSTANT_METHOD.read_text()}"
    text = text.replace(text[text.index('"""') : text.rindex('"""') + 3], "")
    file = tmp_path / "code" / "mine.py"
    file.write_text(text)
    return file


@pytest.fixture
def run(tmp_path, file):
    """The first files of a run that another process has written."""
    folder = tmp_path / "run"
    folder.mkdir()
    with own_plugins.as_in_a_new_process():
        eg.load_plugin(file)
        config = search_config("constant_tiny", strategy="constant")
        write_plugins(folder, config)
        records.write_json(folder / "config.json", as_dict(config))
    return folder


def stored(folder):
    return json.loads((folder / "plugins.json").read_text())["plugins"]


def test_a_run_names_file_and_digests_of_what_its_configuration_needs(run, file):
    (entry,) = stored(run)
    assert entry["file"] == str(file) and entry["name"] == "mine"
    assert len(entry["sha256"]) == 64 and list(entry["imports"]) == ["near_words.py"]
    assert entry["registers"]["strategy"] == ["constant"]
    assert "earlier" not in entry


def test_a_plugin_that_a_run_does_not_need_is_not_recorded(tmp_path, file):
    other = tmp_path / "other.py"
    other.write_text(
        'import egnas_jax as eg\neg.register_preset("other", {"epochs": 3})\n'
    )
    for plugin in (file, other):
        eg.load_plugin(plugin)
    config = search_config("other", strategy="random_search")
    write_plugins(tmp_path, config)
    assert not (tmp_path / "plugins.json").exists()
    # unless the command names it, so that its names are known when it is resumed
    with plugin_records.command([other], allow_changed=False):
        write_plugins(tmp_path, config)
    assert [entry["name"] for entry in stored(tmp_path)] == ["other"]
    # what a run has needed it needs for ever
    write_plugins(tmp_path, search_config("constant_tiny", strategy="constant"))
    assert [entry["name"] for entry in stored(tmp_path)] == ["other", "mine"]


def test_a_primitive_of_the_space_makes_a_plugin_needed(tmp_path):
    (tmp_path / "names.py").write_text(
        "from egnas_jax.space.primitive_names import register_name\n"
        'register_name("mine_3x3", "conv")\n'
    )
    eg.load_plugin("names.py")
    eg.SPACES["own"] = Space("own", ("mine_3x3",))
    try:
        for name, expected in (("darts7", False), ("own", True)):
            write_plugins(tmp_path, search_config("digits", space=name))
            assert (tmp_path / "plugins.json").exists() == expected
    finally:
        del eg.SPACES["own"]


def test_a_plugin_that_registers_nothing_is_always_recorded(tmp_path):
    (tmp_path / "patch.py").write_text("import json\n")
    eg.load_plugin("patch.py")
    write_plugins(tmp_path, search_config())
    assert [entry["name"] for entry in stored(tmp_path)] == ["patch"]


def test_the_plugins_of_a_run_are_loaded_again(run, file):
    (plugin,) = load_recorded(run)
    assert plugin.file == file and "constant" in eg.STRATEGIES
    assert load_recorded(run) == (plugin,)
    assert load_recorded(run.parent) == ()  # without a plugins.json


def test_everything_that_reads_a_run_loads_its_plugins(run):
    from egnas_jax.runs.directory import stored_config

    cell = zoo["DARTS_V2"].genotype
    (run / "genotype.json").write_text(cell.to_json())
    line = {"epoch": 0, "valid_accuracy": 0.5, "seconds": 1.0, "digest": "0"}
    records.append(run / "metrics.jsonl", line)
    for read in (stored_config, read_genotype, plugins_of, lambda f: read_runs([f])):
        for name in (run, run / "genotype.json"):
            if name.is_dir() or read in (read_genotype, plugins_of):
                with own_plugins.as_in_a_new_process():
                    read(str(name) if read not in (stored_config,) else name)
                    assert [p.name for p in loaded_plugins()] == ["mine"], read


def test_a_missing_plugin_is_named_with_its_place_and_may_have_another(run, file):
    moved = shutil.move(file.parent, file.parents[1] / "moved")
    with pytest.raises(ValueError) as error:
        load_recorded(run)
    for words in (str(run), str(file), "--plugin FILE", stored(run)[0]["sha256"]):
        assert words in str(error.value)
    plugin = eg.load_plugin(f"{moved}/mine.py")
    assert load_recorded(run) == (plugin,)


def test_a_renamed_plugin_counts_by_its_contents(run, file):
    renamed = file.rename(file.with_name("renamed.py"))
    plugin = eg.load_plugin(renamed)
    assert load_recorded(run) == (plugin,)


@pytest.mark.parametrize("changed", ["mine.py", "near_words.py"])
def test_a_changed_plugin_is_refused_before_it_runs_unless_allowed(
    changed, run, file, caplog
):
    path = file.with_name(changed)
    path.write_text(path.read_text() + "X = 1\n")
    with pytest.raises(ValueError) as error:
        load_recorded(run)
    assert not loaded_plugins()
    for words in (str(run), str(path), "--allow-changed-plugin", "allow_changed=True"):
        assert words in str(error.value)
    with own_plugins.as_in_a_new_process():
        with plugin_records.command([], allow_changed=True):
            load_recorded(run)
            load_recorded(run)
        with pytest.raises(ValueError, match="allow-changed-plugin"):
            load_recorded(run)  # loaded, but allowed in that command alone
    (note,) = caplog.messages
    assert "It is used as it is now." in note
    eg.load_plugin(file, allow_changed=True)
    assert [plugin.file for plugin in load_recorded(run)] == [file]


def test_a_changed_plugin_of_the_same_name_elsewhere_is_refused(run, file):
    elsewhere = file.parents[1] / "mine.py"
    elsewhere.write_text(own_plugins.CONSTANT_METHOD.read_text())
    eg.load_plugin(elsewhere)
    with pytest.raises(ValueError, match="as it was before"):
        load_recorded(run)


def test_a_plugin_that_was_moved_and_changed_is_known_by_what_it_registers(run, file):
    moved = file.with_name("moved_elsewhere.py")
    moved.write_text(file.read_text() + "X = 1\n")
    file.unlink()
    first = stored(run)[0]["sha256"]
    eg.load_plugin(moved)
    with pytest.raises(ValueError, match="allow-changed-plugin") as error:
        load_recorded(run)
    assert str(moved) in str(error.value)
    eg.load_plugin(moved, allow_changed=True)
    write_plugins(run, search_config("constant_tiny", strategy="constant"))
    (entry,) = stored(run)
    assert entry["file"] == str(moved) and entry["earlier"] == [first]


def test_a_resumed_run_remembers_the_digests_of_its_earlier_epochs(run, file):
    first = stored(run)[0]["sha256"]
    config = None
    for count in (1, 2):
        file.write_text(file.read_text() + "X = 1\n")
        with (
            own_plugins.as_in_a_new_process(),
            plugin_records.command([], allow_changed=True),
        ):
            load_recorded(run)
            config = search_config("constant_tiny", strategy="constant")
            write_plugins(run, config)
            write_plugins(run, config)
        (entry,) = stored(run)
        assert len(entry["earlier"]) == count
        assert entry["earlier"][0] == first != entry["sha256"]


def test_a_module_is_loaded_from_another_folder(run, file, tmp_path, monkeypatch):
    package = tmp_path / "code" / "moved_forks"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(own_plugins.CONSTANT_METHOD, package / "first.py")
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.chdir(tmp_path / "code")
    with own_plugins.as_in_a_new_process():
        eg.load_plugin("moved_forks.first")
        write_plugins(folder, search_config("constant_tiny", strategy="constant"))
    monkeypatch.chdir(tmp_path / "run")
    with own_plugins.as_in_a_new_process():
        assert [plugin.name for plugin in load_recorded(folder)] == [
            "moved_forks.first"
        ]
    (package / "first.py").unlink()
    with (
        own_plugins.as_in_a_new_process(),
        pytest.raises(ValueError, match="needs the plug-in module moved_forks.first"),
    ):
        load_recorded(folder)


@pytest.mark.parametrize("place", ["inside", "relative"])
def test_a_run_directory_never_brings_code_of_its_own(place, run, file, monkeypatch):
    shutil.copytree(file.parent, run / "code")
    monkeypatch.chdir(run)
    own = run / "code" / "mine.py" if place == "inside" else "code/mine.py"
    (entry,) = stored(run)
    content = {"plugins": [entry | {"file": str(own)}]}
    (run / "plugins.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="outside of the run directory"):
        load_recorded(run)
    assert not loaded_plugins()


@pytest.mark.parametrize("content", ["", "[]", '{"plugins": 3}', '{"plugins": [{}]}'])
def test_an_altered_record_is_refused(content, run):
    (run / "plugins.json").write_text(content)
    with pytest.raises(ValueError, match=r"plugins.json .*altered"):
        load_recorded(run)
