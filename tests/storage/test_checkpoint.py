"""Checkpoints: bit for bit, damage noticed, kills and full disks survived."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.storage import checkpoint


class State(NamedTuple):
    mean: jax.Array
    count: jax.Array
    none: None


def make_tree(seed=0):
    key = jax.random.key(seed, impl="threefry2x32")
    params = {"w": jax.random.normal(key, (5, 3)), "b": jnp.zeros(3, jnp.bfloat16)}
    optimizer = optax.chain(optax.trace(0.9), optax.scale_by_adam())
    return {
        "params": params,
        "optimizer": optimizer.init(params),
        "strategy": State(jnp.arange(4.0) + seed, jnp.asarray(seed, jnp.int32), None),
        "key": key,
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 2),
        "host": np.arange(3, dtype=np.float64) / 7,
        "special": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
        "empty": jnp.zeros((0, 2)),
        "epoch": seed,
        "rate": 0.1,
        "flag": True,
    }


def bits(tree):
    """Type and bytes of every leaf; the structure as text."""

    def of_leaf(leaf):
        if hasattr(leaf, "dtype") and jax.dtypes.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        ):
            return str(jax.random.key_impl(leaf)), jax.random.key_data(leaf).tobytes()
        return type(leaf), str(np.asarray(leaf).dtype), np.asarray(leaf).tobytes()

    leaves, structure = jax.tree.flatten(tree)
    return [of_leaf(leaf) for leaf in leaves], structure


def payload(folder, number):
    """The largest file of a checkpoint: where the numbers are."""
    files = [path for path in (folder / str(number)).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def in_record(folder, number):
    """The file of a checkpoint that describes its leaves."""
    files = (path for path in (folder / str(number)).rglob("*") if path.is_file())
    return next(path for path in files if b'"leaves"' in path.read_bytes())


@pytest.fixture(scope="module")
def saved_twice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    for step in (3, 4):
        checkpoint.save(folder, step, make_tree(step), {"epoch": step})
    return folder


@pytest.fixture
def folder(saved_twice, tmp_path):
    """A copy of two checkpoints, of steps 3 and 4."""
    return pathlib.Path(shutil.copytree(saved_twice, tmp_path / "checkpoints"))


def test_everything_comes_back_bit_for_bit(saved_twice):
    restored = checkpoint.restore(saved_twice, make_tree(0))
    assert restored.step == 4
    assert restored.meta == {"epoch": 4}
    assert restored.notes == ()
    assert bits(restored.tree) == bits(make_tree(4))
    assert checkpoint.digest(restored.tree) == checkpoint.digest(make_tree(4))


def test_a_restored_key_draws_the_same_numbers(saved_twice):
    key = checkpoint.restore(saved_twice, make_tree(0)).tree["key"]
    wanted = jax.random.normal(make_tree(4)["key"], (3,))
    np.testing.assert_array_equal(jax.random.normal(key, (3,)), wanted)


def test_shapes_alone_are_target_enough(saved_twice):
    def shape(leaf):
        is_array = isinstance(leaf, jax.Array)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_array else leaf

    restored = checkpoint.restore(saved_twice, jax.tree.map(shape, make_tree(0)))
    assert bits(restored.tree) == bits(make_tree(4))


def test_an_older_step_can_be_asked_for(saved_twice):
    restored = checkpoint.restore(saved_twice, make_tree(0), step=3)
    assert restored.step == 3
    assert bits(restored.tree) == bits(make_tree(3))
    with pytest.raises(checkpoint.NoCheckpointError, match="of step 7"):
        checkpoint.restore(saved_twice, make_tree(0), step=7)


def test_restoring_writes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    checkpoint.restore(folder, make_tree(0))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_newest_are_kept(tmp_path):
    for step in range(4):
        checkpoint.save(tmp_path, step, {"a": step}, {})
    assert checkpoint.steps(tmp_path) == [2, 3]
    checkpoint.save(tmp_path, 4, {"a": 4}, {}, keep=1)
    assert checkpoint.steps(tmp_path) == [4]
    assert [path.name for path in tmp_path.iterdir()] == ["4"]


def test_a_relative_directory_is_taken_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save("runs/a", 0, {"a": 1}, {})
    assert (tmp_path / "runs" / "a" / "0").is_dir()
    assert checkpoint.steps("runs/a") == [0]
    assert checkpoint.restore("runs/a", {"a": 0}).tree == {"a": 1}


def test_where_nothing_was_saved_nothing_is_found(tmp_path):
    assert checkpoint.steps(tmp_path / "none") == []
    with pytest.raises(checkpoint.NoCheckpointError) as caught:
        checkpoint.restore(tmp_path / "none", {"a": 0})
    assert caught.value.notes == ()
    assert not (tmp_path / "none").exists()


def test_any_difference_changes_the_digest():
    tree = make_tree(0)
    digests = [checkpoint.digest(tree)]
    for change in (
        {"special": tree["special"].at[1].set(0.0)},  # the sign of a zero
        {"key": jax.random.key(1, impl="threefry2x32")},
        {"epoch": 1},
        {"host": tree["host"].astype(np.float32)},
        {"empty": jnp.zeros((2, 0))},
        {"another": jnp.zeros(())},
    ):
        digests.append(checkpoint.digest({**tree, **change}))
    assert len(set(digests)) == len(digests)
    assert len(digests[0]) == 64


def test_the_digest_follows_the_paths_not_the_order_of_fields():
    class Turned(NamedTuple):
        count: int
        mean: float

    wanted = checkpoint.digest(State(mean=0.5, count=3, none=None))
    assert checkpoint.digest(Turned(mean=0.5, count=3)) == wanted


def test_the_digest_does_not_depend_on_the_order_of_a_dictionary_or_on_the_host():
    a, b = np.arange(3.0, dtype=np.float32), np.ones(2, np.int32)
    wanted = checkpoint.digest({"a": a, "b": b})
    assert checkpoint.digest({"b": jnp.asarray(b), "a": jnp.asarray(a)}) == wanted


# Damage, each kind to the newest of two checkpoints.


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    path.write_bytes(content)


def alter_meta(folder):
    path = in_record(folder, 4)
    text = path.read_text()
    assert '"epoch": 4' in text
    path.write_text(text.replace('"epoch": 4', '"epoch": 9'))


def mix_up(folder):
    shutil.rmtree(folder / "4" / "state")
    shutil.copytree(folder / "3" / "state", folder / "4" / "state")


def empty(folder):
    shutil.rmtree(folder / "4")
    (folder / "4").mkdir()


DAMAGE = {
    "payload cut in half": lambda d: os.truncate(
        payload(d, 4), payload(d, 4).stat().st_size // 2
    ),
    "payload emptied": lambda d: os.truncate(payload(d, 4), 0),
    "byte altered": lambda d: flip(payload(d, 4), 0.5),
    "late byte altered": lambda d: flip(payload(d, 4), 0.9),
    "payload missing": lambda d: payload(d, 4).unlink(),
    "description cut": lambda d: os.truncate(in_record(d, 4), 20),
    "description altered": alter_meta,
    "description missing": lambda d: shutil.rmtree(in_record(d, 4).parent),
    "arrays missing": lambda d: shutil.rmtree(d / "4" / "state"),
    "numbers of another": mix_up,
    "empty directory": empty,
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_damage_is_noticed_and_the_one_before_is_used(folder, kind):
    DAMAGE[kind](folder)
    restored = checkpoint.restore(folder, make_tree(0))
    assert restored.step == 3
    assert bits(restored.tree) == bits(make_tree(3))
    (note,) = restored.notes
    assert str(folder / "4") in note
    assert "is damaged" in note


def test_altering_any_byte_of_the_numbers_never_passes(folder):
    path = payload(folder, 4)
    content = path.read_bytes()
    for place in np.linspace(0, 0.999, 12):
        path.write_bytes(content)
        flip(path, place)
        restored = checkpoint.restore(folder, make_tree(0))
        # Bytes that no leaf is read from may change; a leaf never does.
        assert bits(restored.tree) == bits(make_tree(restored.step))


def test_when_all_are_damaged_each_is_named(folder):
    for number in (3, 4):
        payload(folder, number).unlink()
    with pytest.raises(checkpoint.NoCheckpointError) as caught:
        checkpoint.restore(folder, make_tree(0))
    assert len(caught.value.notes) == 2


def test_a_run_that_fell_back_writes_its_step_again(folder):
    DAMAGE["byte altered"](folder)
    assert checkpoint.restore(folder, make_tree(0)).step == 3
    for step in (4, 5, 6):
        checkpoint.save(folder, step, make_tree(step + 10), {"epoch": step})
        restored = checkpoint.restore(folder, make_tree(0))
        assert restored.step == step
        assert restored.notes == ()
        assert bits(restored.tree) == bits(make_tree(step + 10))
        assert checkpoint.steps(folder) == [step - 1, step]


def test_a_step_saved_again_replaces_the_former(folder):
    checkpoint.save(folder, 4, make_tree(9), {"again": True})
    restored = checkpoint.restore(folder, make_tree(0))
    assert restored.meta == {"again": True}
    assert bits(restored.tree) == bits(make_tree(9))
    assert checkpoint.steps(folder) == [3, 4]


def test_damaged_checkpoints_never_push_out_the_valid_one(tmp_path):
    for step in range(4):
        checkpoint.save(tmp_path, step, {"a": step}, {}, keep=3)
    for number in (2, 3):
        payload(tmp_path, number).unlink()
        in_record(tmp_path, number).unlink()
    assert checkpoint.restore(tmp_path, {"a": 0}).tree == {"a": 1}
    checkpoint.save(tmp_path, 2, {"a": 20}, {}, keep=2)
    assert checkpoint.steps(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epoch": 0.0}, r"\['epoch'\] it holds python int\[\]"),
        ({"more": 1}, r"\['more'\] it holds nothing"),
        ({"host": np.zeros(4)}, r"\['host'\] .* float64\[3\], where float64\[4\]"),
        ({"key": jax.random.key(0, impl="rbg")}, r"\['key'\] it holds key<fry>\[\]"),
    ],
)
def test_a_target_of_another_structure_is_refused_and_named(saved_twice, change, words):
    with pytest.raises(ValueError, match=words) as caught:
        checkpoint.restore(saved_twice, {**make_tree(0), **change})
    assert not isinstance(caught.value, checkpoint.NoCheckpointError)


def test_a_target_that_lacks_a_leaf_is_refused(saved_twice):
    target = make_tree(0)
    del target["rate"]
    with pytest.raises(ValueError, match=r"\['rate'\].* where nothing is wanted"):
        checkpoint.restore(saved_twice, target)


@pytest.mark.parametrize("leaf", ["text", np.array(["text"]), object()])
def test_a_leaf_that_is_no_number_is_refused(tmp_path, leaf):
    with pytest.raises(ValueError, match=r"Leaf \['a'\]"):
        checkpoint.save(tmp_path / "c", 0, {"a": leaf}, {})
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (0, 0)])
def test_a_negative_step_and_keeping_none_are_refused(tmp_path, step, keep):
    with pytest.raises(ValueError, match=f"keep is {keep} .* step {step} "):
        checkpoint.save(tmp_path, step, {"a": 1}, {}, keep=keep)


# Interruptions, in processes of their own.

WRITER = """
import sys
import numpy as np
from egnas_jax.storage import checkpoint

for step in range(int(sys.argv[2]), 10**6):
    checkpoint.save(sys.argv[1], step, {"a": np.full(300_000, float(step))}, {})
    print(step, flush=True)
"""


def spawn(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", *map(str, arguments)],
        cwd=pathlib.Path(__file__).resolve().parents[2],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_kill_at_any_moment_leaves_a_valid_checkpoint(tmp_path):
    target, last = {"a": np.zeros(300_000)}, -1
    for delay in (0.013, 0.031, 0.052):  # a save takes about 0.1 s
        writer = spawn(WRITER, tmp_path, last + 1)
        last = int(writer.stdout.readline())
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        last = int(([last, *writer.communicate()[0].split()])[-1])
        restored = checkpoint.restore(tmp_path, target)
        assert restored.step in (last, last + 1)
        assert restored.notes == ()
        np.testing.assert_array_equal(restored.tree["a"], float(restored.step))
        last = restored.step


FULL_DISK = """
import resource
import sys
import numpy as np
from egnas_jax.storage import checkpoint

checkpoint.save(sys.argv[1], 0, {"a": np.arange(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
random = np.random.default_rng(0).integers(0, 255, 10**6, np.uint8)
try:
    checkpoint.save(sys.argv[1], 1, {"a": random}, {})
except OSError as error:
    print(error)
"""


def test_a_disk_that_fills_is_an_os_error_and_spares_the_last_checkpoint(tmp_path):
    process = spawn(FULL_DISK, tmp_path)
    output, errors = process.communicate()
    assert "File too large" in output
    assert str(tmp_path / "1") in output
    assert errors == ""  # nor does any library print a traceback
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    restored = checkpoint.restore(tmp_path, {"a": np.zeros(10, np.int64)})
    np.testing.assert_array_equal(restored.tree["a"], np.arange(10))


def test_files_do_not_multiply_with_leaves(tmp_path):
    # One file or more a leaf made a save thirty times slower.
    for step, leaves in enumerate((1, 300)):
        tree = {str(i): np.full((4, 4), i, np.float32) for i in range(leaves)}
        checkpoint.save(tmp_path, step, tree, {})
    one, many = (len(list((tmp_path / name).rglob("*"))) for name in "01")
    assert one == many
