"""Programs compiled side by side, and read again without being traced."""

import contextlib
import errno
import functools
import json
import os
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.nn import lowering
from egnas_jax.nn.lowering import choice
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.runs import search, search_setup
from egnas_jax.runs.search_config import _NOT_COMPILED, search_config
from egnas_jax.runs.search_setup import set_up_search
from egnas_jax.search.search_run import beginning
from egnas_jax.space import SPACES, Space
from egnas_jax.storage.trackers import TRACKERS
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.egnas.config import HYPERPARAMS
from egnas_jax.training import compile_times, program_cache, program_store
from egnas_jax.training.out_of_memory import OutOfMemoryError

SHAPE = jax.ShapeDtypeStruct((3,), jnp.float32)
X = np.arange(3, dtype=np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of the programs; this process remembers none."""
    monkeypatch.setattr(program_cache, "_REMEMBERED", {})
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "lowered"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def traced():
    """Names of the functions that were traced, and requests of two of them."""
    names = []

    def requests():
        def double(bound, x):
            names.append("double")
            return {"out": bound.astype(x.dtype) * x}

        def total(bound, x):
            names.append("total")
            return bound.astype(x.dtype) + jnp.sum(x)

        def request(function):
            bound = functools.partial(jax.jit(function), np.float32(2))
            return program_cache.ProgramRequest(bound, (SHAPE,), {})

        return {"double": request(double), "total": request(total)}

    return names, requests


def results(programs):
    return programs["double"](X)["out"].tolist(), float(programs["total"](X))


EXPECTED = [0.0, 2.0, 4.0], 5.0


def another_process(monkeypatch):
    monkeypatch.setattr(program_cache, "_REMEMBERED", {})


def test_a_program_is_traced_once_for_all_processes(folder, traced, monkeypatch):
    names, requests = traced
    assert results(program_cache.compile_all(requests(), {"a": 1})) == EXPECTED
    assert names == ["double", "total"]
    for _ in range(2):
        assert results(program_cache.compile_all(requests(), {"a": 1})) == EXPECTED
        another_process(monkeypatch)
    assert len(names) == 2
    assert (folder.stat().st_mode & 0o077) == 0  # what is read there is run


def test_a_program_that_was_compiled_elsewhere_is_not_traced(folder, traced):
    names, requests = traced
    stages, asked = [], []

    @contextlib.contextmanager
    def monitor(plan):
        assert plan.cached == {"double"}
        yield lambda name, stage: stages.append((name, stage))

    def load(name, request):
        asked.append((name, len(request.all_arguments)))
        return {"double": lambda bound, x: {"out": bound * x}}.get(name)

    with program_cache.loaded_by(load):
        programs = program_cache.compile_all(requests(), None, monitor)
    assert results(programs) == EXPECTED and names == ["total"]
    assert asked == [("double", 2), ("total", 2)]
    assert stages[0] == ("double", "ready") and len(stages) == 4
    program_cache.compile_all(requests(), None)
    assert names == ["total", "double", "total"]  # outside of the context


def test_nothing_is_compiled_where_all_programs_were(traced):
    names, requests = traced
    with program_cache.loaded_by(lambda name, request: np.add):
        programs = program_cache.compile_all(requests(), None)
    assert programs["total"](np.float32(1.0)) == 3.0 and names == []


def test_what_was_made_of_something_else_is_not_taken(folder, traced, monkeypatch):
    names, requests = traced

    def traces(identity=None, **changes):
        names.clear()
        wanted = {n: r._replace(**changes) for n, r in requests().items()}
        program_cache.compile_all(wanted, identity or {"a": 1})
        return len(names)

    assert (traces(), traces()) == (2, 0)
    assert traces(identity={"a": 2}) == 2
    assert traces(arguments=(jax.ShapeDtypeStruct((4,), jnp.float32),)) == 2
    assert traces(arguments=(jax.ShapeDtypeStruct((3,), jnp.float16),)) == 2
    assert traces(options={"xla_backend_optimization_level": 0}) == 2
    with jax.default_matmul_precision("highest"):
        assert traces() == 2
    assert traces() == 0
    with monkeypatch.context() as patch:
        patch.setattr(program_cache, "_SOURCE", "another")
        assert traces() == 2
    for free, expected in ((2**33, 2), (2**33, 0), (2**33 + 2**30, 2)):
        with monkeypatch.context() as patch:
            patch.setattr(program_cache, "free_bytes", lambda free=free: free)
            assert traces() == expected
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        assert traces() == 2


def test_the_digest_of_the_source_is_that_of_every_module(tmp_path, monkeypatch):
    (tmp_path / "search").mkdir()
    monkeypatch.setattr(
        program_cache, "__file__", str(tmp_path / "training" / "program_cache.py")
    )
    digests = set()
    for text in ("a = 1\n", "a = 2\n"):
        for name in ("one.py", "search/two.py"):
            (tmp_path / name).write_text(text)
            digests.add(program_cache._source_digest())
    assert len(digests) == 4


@pytest.mark.parametrize("damage", [b"", b"no checksum", b"0" * 64 + b"\nrubbish"])
def test_a_damaged_program_is_compiled_and_written_anew(
    damage, folder, traced, monkeypatch
):
    names, requests = traced
    program_cache.compile_all(requests(), {})
    another_process(monkeypatch)
    for path in folder.iterdir():
        whole = path.read_bytes()
        path.write_bytes(damage or whole[:-1] + bytes([whole[-1] ^ 1]))
    assert results(program_cache.compile_all(requests(), {})) == EXPECTED
    assert len(names) == 4
    another_process(monkeypatch)
    program_cache.compile_all(requests(), {})
    assert len(names) == 4


def test_programs_for_an_assumed_backend_have_keys_of_their_own():
    before = program_cache._surroundings()
    with lowering.assume_backend("gpu"):
        assumed = program_cache._surroundings()
    assert before["target"] == "cpu" and assumed == before | {"target": "gpu"}


def test_an_edit_after_the_start_does_not_pass_for_what_runs(monkeypatch):
    before = program_cache._surroundings()["source"]
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: b"edited")
    assert program_cache._source_digest() != before
    assert program_cache._surroundings()["source"] == before


def test_where_jax_keeps_nothing_nothing_is_kept(folder, traced):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert results(program_cache.compile_all(traced[1](), {"a": 1})) == EXPECTED
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not folder.exists()


def test_a_program_that_its_checksum_does_not_fit_is_not_taken(
    folder, traced, monkeypatch
):
    """Here whole ones of the other's: whatever reads them finds nothing wrong."""
    names, requests = traced
    program_cache.compile_all(requests(), {})
    another_process(monkeypatch)
    files = sorted(folder.iterdir())
    parts = [path.read_bytes().split(b"\n", 1) for path in files]
    for path, own, other in zip(files, parts, reversed(parts), strict=True):
        path.write_bytes(own[0] + b"\n" + other[1])
    assert results(program_cache.compile_all(requests(), {})) == EXPECTED
    assert len(names) == 4


def test_without_an_identity_or_a_folder_nothing_is_written(folder, traced):
    _, requests = traced
    assert results(program_cache.compile_all(requests(), None)) == EXPECTED
    assert not folder.exists()
    for elsewhere in (None, "gs://bucket/cache"):
        jax.config.update("jax_compilation_cache_dir", elsewhere)
        assert (
            results(program_cache.compile_all(requests(), {"a": elsewhere})) == EXPECTED
        )


def test_what_cannot_be_exported_is_compiled_all_the_same(folder, traced, monkeypatch):
    def refused(*arguments):
        raise ValueError("a custom call")

    monkeypatch.setattr(program_cache.export, "export", refused)
    assert results(program_cache.compile_all(traced[1](), {})) == EXPECTED
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(folder, traced):
    folder.write_text("a file")
    assert results(program_cache.compile_all(traced[1](), {})) == EXPECTED


def refused(*given):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_folder_that_may_only_be_read_is_read(folder, traced, monkeypatch):
    names, requests = traced
    program_cache.compile_all(requests(), {})
    another_process(monkeypatch)
    monkeypatch.setattr(os, "utime", refused)
    assert results(program_cache.compile_all(requests(), {})) == EXPECTED
    assert len(names) == 2


def test_what_could_not_be_written_leaves_nothing(folder, traced, monkeypatch):
    monkeypatch.setattr(os, "replace", refused)
    assert results(program_cache.compile_all(traced[1](), {})) == EXPECTED
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_goes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(program_store, "LIMIT", 25)
    for age, name in enumerate("cab"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    program_store._make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_process_remembers_the_newest(folder, traced, monkeypatch):
    monkeypatch.setattr(program_cache, "KEPT", 2)
    for number in range(3):
        program_cache.compile_all(traced[1](), {"number": number})
    assert len(program_cache._REMEMBERED) == 2


def test_a_compiler_out_of_memory_names_the_program(folder, traced, monkeypatch):
    def exhausted(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory")

    monkeypatch.setattr(program_cache, "_compile", exhausted)
    with pytest.raises(OutOfMemoryError, match="in double"):
        program_cache.compile_all(traced[1](), {})


def test_settings_that_are_left_out_of_the_key_are_in_no_program(monkeypatch, toy_net):
    """With another value of each of them the lowered programs are the same."""
    monkeypatch.setattr(search_setup, "make_supernet", lambda config: toy_net)
    changes = {
        "seed": 5,
        "epochs": 3,
        "learning_rate": 0.3,
        "learning_rate_min": 0.01,
        "steps_per_call": 2,
        "keep_checkpoints": 5,
        "schedule.order": "strategy_first",
        "schedule.learning_rate_epoch": "next",
        "strategy.zeta": 0.3,
        "strategy.eta": 0.2,
        "strategy.noise": 0.2,
        "strategy.sigma_start": 2.0,
        "strategy.sigma_floor": 0.3,
        "strategy.momentum": 0.4,
        "strategy.step": 0.7,
        "watch.window": 3,
        "watch.factor": 1.7,
        "watch.delta": 2,
        "watch.start": 2,
    }
    watched = {"watch.eigenvalue": "lanczos", "watch.stop": True}  # by these numbers

    # the others name the data, write no program, or are watched by the host alone
    elsewhere = {"data.name", "data.path", "data.digest", "watch.stop"}
    elsewhere |= set(TRACKERS)
    elsewhere |= {"data.classes", "data.layout"}  # num_classes is in the key
    elsewhere.add("schedule.split")  # which images, not how many
    hyperparams = {f"strategy.{name}" for name in HYPERPARAMS}
    assert changes.keys() == {*_NOT_COMPILED, *hyperparams} - elsewhere

    def lowered(settings):
        run = set_up_search(search_config("digits", settings=settings)).run
        zero, texts = jnp.int32(0), []
        start = run.hyperparams, beginning(run).state
        for name, rest in (
            ("train", ((zero, zero),)),
            ("evolve", ()),
            ("validate", ()),
        ):
            program = getattr(run.programs, name)
            text = program.func.lower(*program.args, *start, *rest).as_text()
            texts.append(text)
        return texts, run.identity

    before, identity = lowered(watched)
    after, same = lowered(watched | changes)
    assert before == after and identity == same
    after, other = lowered(watched | {"strategy.tie": "last"})
    assert before != after and identity != other


def test_spaces_of_one_name_are_told_apart_and_foreign_code_is_not_kept(monkeypatch):
    def identity():
        return set_up_search(search_config("digits", space="mine")).run.identity

    found = []
    for pooling in ("avg_pool_3x3", "max_pool_3x3"):
        space = Space("mine", (pooling, "skip_connect"), num_nodes=1)
        monkeypatch.setitem(SPACES, "mine", space)
        found.append(identity())
    assert found[0] != found[1]
    assert json.loads(json.dumps(found[0]))  # as a key needs it

    def apply(*arguments, **options):
        return PRIMITIVES["max_pool_3x3"].apply(*arguments, **options)

    with monkeypatch.context() as patch:
        foreign = PRIMITIVES["skip_connect"]._replace(apply=apply)
        patch.setitem(PRIMITIVES, "skip_connect", foreign)
        assert identity() is None
    for name, value in (("TABLE", {"cpu": {}}), ("MOST_FOLDED_CHANNELS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(choice, name, value)
            assert identity() != found[1]
    with monkeypatch.context() as patch:
        patch.setitem(lowering.TABLE, "cpu", {})
        assert identity() != found[1]
    with monkeypatch.context() as patch:
        patch.setitem(lowering.RULES, "cpu", lowering.RULES["gpu"])
        assert identity() != found[1]
    assert identity() == found[1]
    own, egnas = STRATEGIES["egnas"]
    monkeypatch.setitem(STRATEGIES, "egnas", (own, lambda *given: egnas(*given)))
    assert identity() is None


@pytest.mark.parametrize("what", ["another", "decorated", "bound", "evolution"])
def test_code_that_passes_for_the_own_is_not_kept(what, monkeypatch):
    """By its module each of these is code of this package."""
    pooling = PRIMITIVES["avg_pool_3x3"]
    if what == "evolution":
        monkeypatch.setitem(EVOLUTIONS, "cma_es", EVOLUTIONS["open_es"])
    elif what == "another":
        monkeypatch.setitem(PRIMITIVES, "avg_pool_3x3", PRIMITIVES["max_pool_3x3"])
    elif what == "decorated":
        init = functools.wraps(pooling.init)(lambda *given: pooling.init(*given))
        monkeypatch.setitem(PRIMITIVES, "avg_pool_3x3", pooling._replace(init=init))
    else:
        apply = functools.partial(pooling.apply, window=lambda x, stride, kind: x)
        monkeypatch.setitem(PRIMITIVES, "avg_pool_3x3", pooling._replace(apply=apply))
    assert set_up_search(search_config("digits")).run.identity is None


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_exchange_in_one_order(processes, monkeypatch):
    """Weights are drawn beside the compiler only where nobody waits for an exchange."""
    threads = []

    def noted(*given):
        threads.append(threading.current_thread())
        return given[0]

    monkeypatch.setattr(jax, "process_count", lambda: processes)
    monkeypatch.setattr(search, "begin", noted)
    monkeypatch.setattr(search, "compiled", noted)
    monkeypatch.setattr(search, "next_stage", lambda run, begun: (run, begun))
    start = search.StartPoint(None)
    assert search._begin_and_compile("run", start, None) == ("run", "run")
    assert len(set(threads)) == 3 - processes


def watched(requests):
    """The plan and the reports of a compilation."""
    plans, reports = [], []

    @contextlib.contextmanager
    def watch(plan):
        plans.append(plan)
        yield lambda name, stage: reports.append((name, stage))
        reports.append("end")

    programs = program_cache.compile_all(requests, {"a": 1}, watch)
    assert results(programs) == EXPECTED
    return plans[0], reports


def test_a_watch_is_told_each_stage_of_each_program(folder, traced, monkeypatch):
    plan, reports = watched(traced[1]())
    assert plan == (("double", "total"), frozenset(), None)
    assert reports.pop() == "end"
    for name in plan.names:
        stages = [stage for program, stage in reports if program == name]
        assert stages == ["tracing", "compiling", "ready"]


def test_a_plan_says_what_is_cached_and_what_it_took(folder, traced, monkeypatch):
    watched(traced[1]())
    another_process(monkeypatch)
    plan, _ = watched(traced[1]())
    assert plan.cached == {"double", "total"}
    assert plan.seconds is None  # it was never read before
    another_process(monkeypatch)
    plan, _ = watched(traced[1]())
    assert 0 <= plan.seconds < 60
    for path in folder.iterdir():
        path.unlink()
    another_process(monkeypatch)
    plan, _ = watched(traced[1]())
    assert plan.cached == frozenset()
    assert 0 <= plan.seconds < 60


def test_times_are_kept_for_the_newest_programs_and_lost_in_silence(tmp_path):
    assert compile_times.recall(None, "a") is None
    compile_times.remember(None, "a", 1.0)
    for number in range(compile_times.KEPT + 1):
        compile_times.remember(tmp_path, str(number), number)
    assert compile_times.recall(tmp_path, "0") is None
    assert compile_times.recall(tmp_path, "1") == 1.0
    assert [path.name for path in tmp_path.iterdir()] == [compile_times.FILE]
    (tmp_path / compile_times.FILE).write_text("[1, ")
    assert compile_times.recall(tmp_path, "1") is None
    compile_times.remember(tmp_path, "1", 2.0)
    assert compile_times.recall(tmp_path, "1") == 2.0
