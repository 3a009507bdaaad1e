"""Plug-ins are loaded once, and a bad one is named with its file and line."""

import json
import os
import pickle
import sys

import own_plugins
import pytest

import egnas_jax as eg
from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.runs import plugins, search
from egnas_jax.runs.plugins import is_of_plugin, load_plugin, loaded_plugins
from egnas_jax.runs.presets import PRESETS
from egnas_jax.runs.search_config import search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.space.primitive_names import FAMILIES
from egnas_jax.training.processes import SharedError

PRESET = 'import egnas_jax as eg\neg.register_preset("{}", {{"epochs": {}}})\n'
IMPORTS = "import egnas_jax as eg\nimport dataclasses\n"
CONFIG = """
@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 1
    valid_batch_size = 1
    warmup = 0
    individuals = None
"""


@pytest.fixture(autouse=True)
def new_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with own_plugins.as_in_a_new_process():
        yield


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_plugin_is_loaded_once_however_it_is_named(tmp_path):
    file = write(tmp_path / "mine.py", PRESET.format("mine", 3))
    (tmp_path / "link.py").symlink_to(file)
    first = eg.load_plugin("mine.py")
    for name in (file, "./mine.py", tmp_path / "link.py", "mine"):
        assert eg.load_plugin(name) is first
    assert loaded_plugins() == (first,)
    assert first.names == {"preset": ["mine"]}
    assert search_config("mine").epochs == 3


def test_two_files_of_one_name_are_two_plugins(tmp_path):
    for folder, epochs in (("a", 3), ("b", 4)):
        text = PRESET.format(folder, epochs) + f"EPOCHS = {epochs}\nclass C: pass\n"
        eg.load_plugin(write(tmp_path / folder / "mine.py", text))
    assert [search_config(name).epochs for name in "ab"] == [3, 4]
    modules = [sys.modules[plugins.module_name(p.file)] for p in loaded_plugins()]
    assert [module.EPOCHS for module in modules] == [3, 4]
    # the cache of programs pickles the classes of states
    for module in modules:
        assert type(pickle.loads(pickle.dumps(module.C()))) is module.C


def test_a_module_beside_a_plugin_can_be_imported(tmp_path):
    write(tmp_path / "elsewhere" / "near_by.py", "EPOCHS = 7\n")
    text = 'import egnas_jax as eg\nimport near_by\neg.register_preset("n", {"epochs": '
    plugin = write(tmp_path / "elsewhere" / "mine.py", text + "near_by.EPOCHS})\n")
    assert list(eg.load_plugin(plugin).source.imports) == ["near_by.py"]
    assert search_config("n").epochs == 7


def test_a_module_is_loaded_by_its_name(tmp_path):
    write(tmp_path / "my_forks" / "__init__.py", "")
    write(tmp_path / "my_forks" / "first.py", PRESET.format("mine", 3))
    plugin = eg.load_plugin("my_forks.first")
    assert (plugin.name, plugin.names) == ("my_forks.first", {"preset": ["mine"]})


def test_an_edit_after_loading_is_refused(tmp_path):
    file = write(tmp_path / "mine.py", PRESET.format("mine", 3))
    eg.load_plugin(file)
    write(file, PRESET.format("mine", 4))  # the same size, in the same second
    with pytest.raises(ValueError, match="has changed since this process loaded it"):
        eg.load_plugin(file)


def test_a_plugin_prints_on_stderr(tmp_path, capsys):
    text = PRESET.format("mine", 3) + 'print("hello")\n'
    eg.load_plugin(write(tmp_path / "mine.py", text))
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "hello\n")


def test_a_plugin_that_registers_nothing_is_loaded_with_a_note(tmp_path):
    notes = []
    file = write(tmp_path / "mine.py", "SIZE = 3\n")
    for _ in range(2):
        load_plugin(file, log=notes.append)
    (note,) = notes
    assert f"{file} registers nothing" in note and "eg.register_strategy" in note


BAD = {
    "syntax": ("x = 1\nx = = 2\n", 2, "SyntaxError: invalid syntax"),
    "name": ("def f():\n    return nothing\nf()\n", 2, "NameError: name 'nothing'"),
    "import": ("import no_such_library\n", 1, "ModuleNotFoundError: No module named"),
    "library": (
        "import json\n\njson.loads('x')\n",
        3,
        "Expecting value",  # raised further down, in a file that is not the plug-in's
    ),
    "exit": ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
    "preset": (
        'import egnas_jax as eg\neg.register_preset("mine", {"epoch": 3})\n',
        2,
        "Unknown path 'epoch'. Did you mean epochs",
    ),
    "strategy": (
        f'{IMPORTS}{CONFIG}\neg.register_strategy("darts", Config, lambda *x: 0)\n',
        11,
        "The strategy 'darts' is defined already, by egnas_jax itself",
    ),
    "twice": (
        f"{IMPORTS}{CONFIG}\ndef make(net, config): ...\n\n"
        'eg.register_strategy("mine", Config, make)\n'
        'eg.register_strategy("mine", Config, make)\n',
        14,
        "mine.py:11",  # where the first one is
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_named_with_its_line_and_leaves_nothing(name, tmp_path):
    text, line, words = BAD[name]
    tables = {kind: plugins._snapshot(t) for kind, t in plugins._tables().items()}
    file = write(tmp_path / "mine.py", text)
    before = set(sys.modules)
    with pytest.raises(ValueError) as error:
        eg.load_plugin(file)
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert words in str(error.value)
    assert not loaded_plugins()
    assert not {n for n in set(sys.modules) - before if "mine" in n}
    for kind, table in plugins._tables().items():
        assert plugins._snapshot(table) == tables[kind]


def test_a_preset_of_another_plugin_is_named_with_its_file(tmp_path):
    for command in ("search", "retrain"):
        text = PRESET.format("mine", 3).replace("})", f"}}, command={command!r})")
        first = write(tmp_path / f"first_{command}.py", text)
        eg.load_plugin(first)
        with pytest.raises(ValueError, match=f"registered by {first}"):
            eg.load_plugin(write(tmp_path / f"second_{command}.py", text))


def test_a_mended_plugin_can_be_loaded(tmp_path):
    text = PRESET.format("mine", 3)
    file = write(tmp_path / "mine.py", text + "broken\n")
    with pytest.raises(ValueError, match="mine.py:3: NameError"):
        eg.load_plugin(file)
    write(file, text)
    eg.load_plugin(file)
    assert search_config("mine").epochs == 3


def test_the_line_of_a_helper_is_named(tmp_path):
    write(tmp_path / "near_bad.py", "x = 1\nx.y\n")
    file = write(tmp_path / "mine.py", "import near_bad\n")
    with pytest.raises(ValueError, match="near_bad.py:2: AttributeError"):
        eg.load_plugin(file)


def test_entries_of_all_tables_are_noticed(tmp_path):
    text = (
        "import egnas_jax as eg\nfrom egnas_jax.evolution import EVOLUTIONS\n"
        "from egnas_jax.space.primitive_names import register_name\n"
        "from egnas_jax.space import Space\n"
        'eg.SPACES["mine"] = Space("mine", ("skip_connect",))\n'
        'EVOLUTIONS["mine"] = EVOLUTIONS["open_es"]\n'
        'register_name("mine_3x3", "conv")\n'
    )
    plugin = eg.load_plugin(write(tmp_path / "mine.py", text))
    assert plugin.names == {
        "primitive": ["mine_3x3"],
        "space": ["mine"],
        "evolution": ["mine"],
    }
    assert is_of_plugin("space", "mine", eg.SPACES["mine"])
    assert not is_of_plugin("space", "mine", eg.SPACES["darts7"])
    assert not is_of_plugin("space", "darts7", eg.SPACES["darts7"])
    assert "mine" in EVOLUTIONS and "mine_3x3" in FAMILIES


def test_installed_plugins_are_loaded_and_a_broken_one_is_left_out(
    tmp_path, monkeypatch
):
    site = tmp_path / "site"
    write(site / "installed_mine.py", PRESET.format("mine", 3))
    write(site / "installed_bad.py", "1 / 0\n")
    info = site / "my_forks-1.0.dist-info"
    write(info / "METADATA", "Metadata-Version: 2.1\nName: my-forks\nVersion: 1.0\n")
    points = "[egnas_jax.plugins]\nbad = installed_bad\nmine = installed_mine\n"
    write(info / "entry_points.txt", points)
    monkeypatch.syspath_prepend(site)
    notes = []
    plugins.load_installed(notes.append)
    assert [plugin.name for plugin in loaded_plugins()] == ["installed_mine"]
    assert "mine" in PRESETS
    (note,) = notes
    assert "The installed plug-in bad (package my-forks) is left out" in note
    assert "installed_bad.py:1: ZeroDivisionError" in note


def test_the_key_of_programs_holds_the_digests_of_plugins(tmp_path):
    """A script's method is not kept at all, since its source is not known."""
    text = own_plugins.CONSTANT_METHOD.read_text()

    def identity(text):
        file = write(tmp_path / "mine.py", text)
        with own_plugins.as_in_a_new_process():
            eg.load_plugin(file)
            config = search_config("constant_tiny", strategy="constant")
            return set_up_search(config).run.identity

    first, again = identity(text), identity(text)
    assert first is not None and first == again
    assert json.dumps(first)  # as a key needs it
    changed = identity(text.replace("UPDATES = 1.0", "UPDATES = 2.0"))
    assert changed is not None and changed != first
    with own_plugins.as_in_a_new_process():
        eg.load_plugin(tmp_path / "mine.py")
        eg.STRATEGIES["constant"] = tuple(list(eg.STRATEGIES["constant"]))
        eg.STRATEGIES["script"] = eg.STRATEGIES["constant"]
        config = search_config("constant_tiny", strategy="script")
        assert set_up_search(config).run.identity is None


def test_a_helper_of_a_plugin_is_in_the_key(tmp_path):
    write(tmp_path / "near_size.py", "SIZE = 1\n")
    file = write(tmp_path / "mine.py", "from near_size import SIZE\n")
    load_plugin(file, log=list().append)
    before = plugins.plugin_identity()
    with own_plugins.as_in_a_new_process():
        write(tmp_path / "near_size.py", "SIZE = 2\n")
        load_plugin(file, log=list().append)
        assert plugins.plugin_identity() != before


def test_a_module_from_elsewhere_is_in_the_key_and_noted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "lib")
    file = write(tmp_path / "mine" / "mine.py", "import numpy, json\nimport far_size\n")

    def loaded(size):
        far = write(tmp_path / "lib" / "far_size.py", f"SIZE = {size}\n")
        notes = []
        with own_plugins.as_in_a_new_process():
            plugin = load_plugin(file, log=notes.append)
            return far, plugin, notes, plugins.plugin_identity()

    far, plugin, notes, before = loaded(1)
    assert list(plugin.elsewhere) == [str(far)] and not plugin.source.imports
    assert any(f"imports {far}, which is not in its folder" in note for note in notes)
    assert loaded(1)[-1] == before != loaded(2)[-1]


def test_a_helper_with_the_name_of_another_is_refused(tmp_path):
    text = "import same_name\n" + PRESET
    for folder, epochs in (("a", 3), ("b", 4)):
        write(tmp_path / folder / "same_name.py", f"EPOCHS = {epochs}\n")
        write(tmp_path / folder / "plug.py", text.format(folder, epochs))
    load_plugin(tmp_path / "a" / "plug.py")
    with pytest.raises(ValueError, match="imports same_name, .*a/same_name.py instead"):
        load_plugin(tmp_path / "b" / "plug.py")
    assert "b" not in PRESETS and "a" in PRESETS


def test_an_error_in_a_run_names_the_line_of_the_plugin(tmp_path):
    file = write(tmp_path / "mine.py", "def f(x):\n    return g(x)\n\ng = len\n")
    load_plugin(file, log=list().append)
    module = sys.modules[plugins.module_name(file)]
    with pytest.raises(TypeError) as error:
        module.f(3)
    assert plugins.plugin_place(error.value) == f"{file}:2"
    with pytest.raises(TypeError) as error:
        len(3)
    assert plugins.plugin_place(error.value) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "mine.py").symlink_to(tmp_path / "mine.py")  # a circle
    else:
        write(tmp_path / "mine.py", "").chmod(0)
    with pytest.raises(ValueError, match="mine.py"):
        eg.load_plugin("mine.py")


def test_processes_with_other_plugins_are_refused(monkeypatch):
    others = [["mine", ["0" * 64, {}]]]
    monkeypatch.setattr(search, "allgather_json", lambda value: [value, others])
    with pytest.raises(SharedError, match="Process 1 has loaded other plug-ins"):
        search.check_same_configuration(search_config())
