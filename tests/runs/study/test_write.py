"""Plans of studies, and the units that are written for them."""

import contextlib
import json
import pathlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import own_plugins
import pytest

import egnas_jax as eg
from egnas_jax.runs import retrain_config, search_config
from egnas_jax.runs.study import write as write_module
from egnas_jax.runs.study.plan import read_plan
from egnas_jax.runs.study.study_file import read_study
from egnas_jax.runs.study.worker import run_worker
from egnas_jax.runs.study.write import write_study
from egnas_jax.settings import as_dict
from egnas_jax.storage import records

DOCUMENTATION = pathlib.Path(__file__).resolve().parents[3] / "docs" / "clusters.md"
PLAN = """
[settings]
batch_size = 64

[search]
preset = "digits"
variant = "official"
seeds = 2
settings = { epochs = 3, strategy.population = 8 }

[search.sweep]
"strategy.eta" = [0.2, 0.4]

[retrain]
seeds = [5, 7]
auxiliary = false
[retrain.settings]
epochs = 4
"""


@pytest.fixture
def write(tmp_path):
    """Writes a plan as a study; returns the study."""

    def write(text, **options):
        (tmp_path / "plan.toml").write_text(text)
        return write_study(tmp_path / "plan.toml", tmp_path / "study", **options)

    return write


def stored(study):
    return {
        str(path.relative_to(study.folder)): path.read_bytes()
        for path in study.folder.rglob("*")
        if path.is_file()
    }


def test_searches_come_first_and_each_retraining_needs_one(write):
    units = write(PLAN).units
    searches = [
        f"search/strategy.eta={eta}/seed{seed}" for eta in (0.2, 0.4) for seed in (2, 3)
    ]
    assert [unit.run for unit in units[:4]] == searches
    retrainings = [
        (f"retrain{run.removeprefix('search')}/seed{seed}", (run,))
        for run in searches
        for seed in (5, 7)
    ]
    assert [(unit.run, unit.needs) for unit in units[4:]] == retrainings
    assert [unit.kind for unit in units] == ["search"] * 4 + ["retrain"] * 8


def test_a_unit_has_the_configuration_of_the_command(write):
    units = {unit.run: unit for unit in write(PLAN).units}
    expected = eg.search_config(
        "digits",
        variant="official",
        settings={
            "epochs": 3,
            "batch_size": 64,
            "strategy.population": 8,
            "strategy.eta": 0.4,
            "seed": 3,
        },
    )
    search = units["search/strategy.eta=0.4/seed3"]
    assert search_config.from_dict(search.config) == expected
    retraining = units["retrain/strategy.eta=0.4/seed3/seed7"]
    expected = eg.retrain_config(
        "digits",
        settings={"epochs": 4, "batch_size": 64, "seed": 7, "split_seed": 3},
        auxiliary=False,
    )
    assert retraining.config == json.loads(json.dumps(as_dict(expected)))
    text = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+" + "|".join(
        ["", *(f"skip_connect~{i}" for i in range(3)), ""]
    )
    config = retrain_config.from_dict({**retraining.config, "genotype": text})
    assert (config.split_seed, config.genotype) == (3, text)


def test_tables_and_quoted_keys_mean_the_same(write, tmp_path):
    nested = PLAN.replace('"strategy.eta" =', "strategy.eta =")
    assert nested != PLAN
    first = write(PLAN).units
    assert write(nested).units == first


def test_several_searches_have_directories_by_their_names(write):
    study = write(
        """
        [[search]]
        strategy = "darts"
        name = "darts"
        [[search]]
        strategy = "random_search"
        name = "random"
        [retrain]
        """
    )
    assert [unit.run for unit in study.units] == [
        "search/darts/seed0",
        "search/random/seed0",
        "retrain/darts/seed0/seed0",
        "retrain/random/seed0/seed0",
    ]
    names = [unit.config.get("strategy_name") for unit in study.units[:2]]
    assert names == ["darts", "random_search"]


def test_paths_start_from_the_plan_and_plans_can_be_dictionaries(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    (tmp_path / "data").mkdir()
    (tmp_path / "plan.toml").write_text(
        'data_dir = "data"\nplugins = ["own.py", "module"]\n[search]\n'
        '[search.settings]\ndata.path = "mine.npz"\n'
    )
    plan = read_plan(tmp_path / "plan.toml")
    assert plan.data_dir == str(tmp_path / "data")
    assert plan.plugins == (str(tmp_path / "own.py"), "module")
    path = str(tmp_path / "mine.npz")
    assert plan.searches[0].settings == {"data.path": path}
    monkeypatch.chdir(tmp_path)
    study = write_study({"search": {"settings": {"data.path": "mine.npz"}}}, "out")
    assert study.units[0].config["data"]["path"] == path


def test_a_study_names_its_plugins_and_a_changed_one_is_refused(write, tmp_path):
    plugin = shutil.copy(own_plugins.CONSTANT_METHOD, tmp_path / "mine.py")
    text = 'plugins = ["mine.py"]\n[search]\npreset = "constant_tiny"\n'
    text += 'strategy = "constant"\nsettings.strategy.sharpness = 2.0'
    with own_plugins.as_in_a_new_process():
        study = write(text)
        assert study.units[0].config["strategy"] == {"sharpness": 2.0}
        (plugin_record,) = records.read_object(study.folder / "plugins.json")["plugins"]
        assert plugin_record["file"] == str(plugin)
    plugin.write_text(plugin.read_text() + "\n# changed\n")
    with (
        own_plugins.as_in_a_new_process(),
        pytest.raises(ValueError, match="--allow-changed-plugin"),
    ):
        run_worker(study.folder)
    assert not (study.folder / "units").exists()


def test_the_same_plan_adds_nothing(write):
    before = stored(write(PLAN))
    assert stored(write(PLAN + "\n# a comment\n")) == before


def test_a_plan_with_more_units_is_added_when_that_is_asked_for(write):
    before = write(PLAN)
    more = PLAN.replace("seeds = 2", "seeds = 3").replace("0.2, 0.4", "0.2, 0.4, 0.6")
    files = stored(before)
    with pytest.raises(ValueError, match="adds 15 units, .* Add them by --extend"):
        write(more)
    assert stored(before) == files
    after = write(more, extend=True)
    assert after.units[:12] == before.units and len(after.units) == 27
    assert after == read_study(after.folder)
    assert write(more) == after


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 3", "epochs = 5"), "strategy.eta=0.2/seed2 has epochs: 3 -> 5"),
        (("seeds = 2", "seeds = 1"), "seed3 is not in this one"),
        (("[5, 7]", "[5]"), "seed7 is not in this one"),
    ],
)
@pytest.mark.parametrize("extend", [False, True])
def test_a_plan_that_changes_a_unit_is_refused(extend, change, message, write):
    study = write(PLAN)
    before = stored(study)
    with pytest.raises(ValueError, match=message):
        write(PLAN.replace(*change), extend=extend)
    assert stored(study) == before


# plan -> part of the message
def test_swept_images_name_the_runs_by_their_files(write, tmp_path):
    """Whose folder differs by machine."""
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).touch()
    study = write('[search.sweep]\ndata.path = ["a.npz", "b.npz"]\n[search]\n')
    assert [unit.run for unit in study.units] == [
        "search/data.path=a.npz/seed0",
        "search/data.path=b.npz/seed0",
    ]
    paths = [unit.config["data"]["path"] for unit in study.units]
    assert paths == [str(tmp_path / name) for name in ("a.npz", "b.npz")]


BAD = {
    "no TOML": ("search = ", "is not TOML"),
    "no search": ("[retrain]", "needs a table [search]"),
    "an empty list": ("search = []", "needs a table [search]"),
    "unknown key": ("[serach]", "unknown key 'serach'. Did you mean search"),
    "unknown key of a search": ("[search]\nseed = 2", "Did you mean seeds"),
    "unknown key of a retraining": (
        "[search]\n[retrain]\nsweep = 1",
        "[retrain] has the unknown key 'sweep'",
    ),
    "a list for a table": ("[search]\nsettings = [1]", "must be a table"),
    "a number for a name": ("[search]\npreset = 3", "preset = 3, but it must be text"),
    "no table": ("search = [1]", "[[search]] 1 is 1, but must be a table"),
    "a name with a slash": ('[search]\nname = "a/b"', "has the name 'a/b'"),
    "the folder above as a name": ('[search]\nname = ".."', "has the name '..'"),
    "no seeds": ("[search]\nseeds = 0", "seeds = 0"),
    "seeds that are equal": ("[search]\nseeds = [1, 1]", "seeds = [1, 1]"),
    "a negative seed": ("[search]\nseeds = [-1]", "seeds = [-1]"),
    "a seed too large": ("[search]\nseeds = [4294967296]", "seed is 4294967296"),
    "true for a number": ("[search]\nseeds = true", "seeds = True"),
    "seeds and a seed": (
        "[search]\nseeds = [1]\nsettings.seed = 1",
        "seeds = [1] and the setting seed",
    ),
    "a swept seed": ("[search]\nsweep.seed = [1]", "sweeps over seed"),
    "unknown preset": ('[search]\npreset = "digit"', "Unknown preset 'digit'"),
    "unknown recipe": (
        '[search]\n[retrain]\npreset = "digit"',
        "Unknown preset 'digit'",
    ),
    "unknown strategy": ('[search]\nstrategy = "dart"', "Did you mean darts"),
    "unknown variant": ('[search]\nvariant = "papers"', "Did you mean paper"),
    "unknown space": ('[search]\nspace = "darts"', "Unknown space 'darts'"),
    "unknown setting": ("[search]\nsettings.epoch = 1", "Unknown path 'epoch'"),
    "a setting of a search alone": (
        "settings.strategy.eta = 0.3\n[search]\n[retrain]",
        "[retrain] with [settings]: Unknown path 'strategy.eta'",
    ),
    "a setting of another type": (
        "[search]\nsettings.epochs = 1.5",
        "epochs takes a whole number, got 1.5",
    ),
    "a list as a setting": ("[search]\nsettings.epochs = [1]", "a setting is a number"),
    "a setting twice": (
        '[search.settings]\n"strategy.eta" = 0.1\nstrategy.eta = 0.2',
        "has strategy.eta twice",
    ),
    "unknown path": ("[search.sweep]\nstrategy.etta = [1]", "Did you mean strategy.et"),
    "out of range": ("[search.sweep]\nmomentum = [0.5, 1.5]", "momentum is 1.5"),
    "no list": ("[search.sweep]\nmomentum = 0.5", "momentum = 0.5, but takes a list"),
    "an empty sweep": ("[search.sweep]\nmomentum = []", "takes a list of at least one"),
    "the same value twice": (
        '[search.sweep]\nmomentum = [0.5, "0.50"]',
        "[search.sweep] has the same setting twice",
    ),
    "swept and set": (
        "[search]\nsettings.momentum = 0.5\nsweep.momentum = [0.5]",
        "momentum in settings and in sweep",
    ),
    "a name that is too long": (
        f'[search]\nname = "{"x" * 300}"',
        "may have 255 bytes",
    ),
    "two units with the same directory": (
        '[[search]]\n[[search]]\nstrategy = "darts"',
        "Units 1 and 2 of the plan have the same directory, search/seed0",
    ),
    "a unit in the directory of another": (
        '[[search]]\n[[search]]\nname = "seed0"',
        "search/seed0/seed0 of a unit lies in that of another, search/seed0",
    ),
    "missing data": ('[search]\nsettings.data.path = "no.npz"', "which is no file"),
    "missing swept data": (
        '[search.sweep]\ndata.path = ["no.npz", "none"]',
        "which is no file",
    ),
    "missing folder of data": ('data_dir = "no"\n[search]', "which is no folder"),
    "an empty folder of data": ('data_dir = ""\n[search]', "data_dir is ''"),
    "a folder without the data": (
        'data_dir = "."\n[search]\npreset = "cifar10"',
        "holds no cifar10",
    ),
    "a folder without the data of retrainings": (
        'data_dir = "."\n[search]\n[retrain]\npreset = "cifar100"',
        "holds no cifar100",
    ),
    "retrainings on other data": (
        '[search]\npreset = "cifar10"\n[retrain]',
        "searches on cifar10, but what it finds would be trained on digits",
    ),
    "retrainings on other images": (
        '[search]\nsettings.data.path = "plan.toml"\n[retrain]',
        "plan.toml, but what it finds would be trained on digits. Name the recipe",
    ),
    "missing plug-in": ('plugins = ["no.py"]\n[search]', "no.py' does not exist"),
    "no plug-in": ("plugins = [1]\n[search]", "plugins has 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plan_is_refused_and_nothing_is_written(name, write, tmp_path):
    text, message = BAD[name]
    with pytest.raises(ValueError) as caught:
        write(text)
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.toml"]


def test_a_plan_says_on_which_other_data_retrainings_train(write):
    study = write('[search]\npreset = "cifar10"\n[retrain]\npreset = "cifar100"')
    names = [unit.config["data"]["name"] for unit in study.units]
    assert names == ["cifar10", "cifar100"]


def test_a_plan_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("[search]\nseeds = 2", encoding="utf-8-sig")
    assert read_plan(path).searches[0].seeds == 2


def test_what_a_killed_sweep_leaves_is_written_again(write, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / ".study.json.tmp7").write_text("{")
    (folder / "plan.toml").write_text(PLAN)
    assert len(write(PLAN).units) == 12


def test_the_plan_of_somebody_else_is_left_alone(write, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "plan.toml").write_text("[search]")
    with pytest.raises(ValueError, match="not empty and holds no study"):
        write(PLAN)
    assert (folder / "plan.toml").read_text() == "[search]"


def test_machines_may_all_begin_with_the_same_sweep(tmp_path, monkeypatch):
    (tmp_path / "plan.toml").write_text(PLAN)
    start, write_units = threading.Barrier(3), write_module.write_units

    def slowly(*arguments):
        time.sleep(0.3)  # the others look into the folder meanwhile
        write_units(*arguments)

    monkeypatch.setattr(write_module, "write_units", slowly)

    def sweep(_):
        start.wait()
        return write_study(tmp_path / "plan.toml", tmp_path / "study").units

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(sweep, range(3))
    assert len(first) == 12 and others == [first, first]


def test_plans_that_extend_a_study_at_once_lose_no_unit(tmp_path, monkeypatch):
    """The second waits for the first, and sees that it lacks a unit of that plan."""
    write_study({"search": {}}, tmp_path)
    read, met = write_module._extended, threading.Barrier(2, timeout=1)

    def read_together(*arguments, **options):
        found = read(*arguments, **options)
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait()
        return found

    monkeypatch.setattr(write_module, "_extended", read_together)

    def extend(seeds):
        try:
            plan = {"search": {"seeds": [0, seeds]}}
            return str(write_study(plan, tmp_path, extend=True))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(extend, (1, 2)))
    assert sum("is not in this one" in each for each in said) == 1
    assert len(read_study(tmp_path).units) == 2


def test_a_plan_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        write_study(tmp_path / "no.toml", tmp_path / "study")
    (tmp_path / "plan.toml").write_bytes(b"[search]\nname = '\xff'")
    with pytest.raises(ValueError, match="is not TOML"):
        write_study(tmp_path / "plan.toml", tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_the_plan_of_the_documentation_is_one(write):
    text = DOCUMENTATION.read_text().split("```toml\n")[1].split("```")[0]
    here = [line for line in text.splitlines() if not line.startswith(("data", "plug"))]
    kinds = [unit.kind for unit in write("\n".join(here)).units]
    assert (kinds.count("search"), kinds.count("retrain")) == (8, 16)


def test_a_directory_with_something_else_is_refused(write, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes").write_text("mine")
    with pytest.raises(ValueError, match="not empty and holds no study"):
        write(PLAN)
    assert [p.name for p in pathlib.Path(tmp_path / "study").iterdir()] == ["notes"]
