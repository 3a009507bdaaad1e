"""Tests of checkpoints: exact restores, damage, kills and full disks."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.storage import checkpoint
from egnas_jax.storage.leaves import host_arrays


@flax.struct.dataclass
class State:
    mean: jax.Array
    count: jax.Array
    none: None = None


def make_tree(seed=0):
    """A tree with every dtype and shape that a search or a retraining has."""
    key = jax.random.key(seed, impl="threefry2x32")
    params = {"w": jax.random.normal(key, (5, 3)), "b": jnp.zeros(3, jnp.bfloat16)}
    optimizer = optax.chain(optax.trace(0.9), optax.scale_by_adam())
    return {
        "params": params,
        "optimizer": optimizer.init(params),
        "strategy": State(jnp.arange(4.0) + seed, jnp.asarray(seed, jnp.int32)),
        "key": jax.random.key_data(key),
        "special": jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45]),
        "empty": jnp.zeros((0, 2)),
        "epoch": jnp.asarray(seed, jnp.int32),
        "flag": jnp.array(True),
    }


def one_leaf(value):
    return {"a": jnp.asarray(value, jnp.int32)}


def bits(tree):
    """Dtype, shape and bytes of every leaf; the structure."""
    leaves, structure = jax.tree.flatten(tree)
    return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in leaves], structure


def payload(folder, number):
    """The largest file of a checkpoint, which holds the leaves."""
    files = [path for path in (folder / str(number)).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def description(folder, number):
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


def test_a_tree_is_restored_bit_for_bit(saved_twice):
    restored = checkpoint.restore(saved_twice, make_tree(0))
    assert restored.step == 4
    assert restored.meta == {"epoch": 4}
    assert restored.notes == ()
    assert bits(restored.tree) == bits(make_tree(4))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored.tree))
    assert checkpoint.digest(restored.tree) == checkpoint.digest(make_tree(4))


def test_the_target_may_hold_shapes_instead_of_arrays(saved_twice):
    restored = checkpoint.restore(saved_twice, jax.eval_shape(make_tree))
    assert bits(restored.tree) == bits(make_tree(4))


def test_a_checkpoint_of_an_earlier_version_is_restored(folder):
    """Earlier versions wrote dtype and shape twice, and names of random generators."""
    record = checkpoint._read_description(folder, 4) | {"generators": {}}
    for row in record["leaves"]:
        row += row[1:]
    record["checksum"] = checkpoint._checksum(record)
    content = b"".join(map(np.ndarray.tobytes, host_arrays(make_tree(4)).values()))
    checkpoint._write(folder, 5, content, record)
    assert checkpoint.steps(folder) == [3, 4]
    shutil.rmtree(folder / "4")
    restored = checkpoint.restore(folder, make_tree(0))
    assert (restored.step, restored.notes) == (4, ())
    assert bits(restored.tree) == bits(make_tree(4))


def test_an_earlier_step_can_be_restored(saved_twice):
    restored = checkpoint.restore(saved_twice, make_tree(0), step=3)
    assert restored.step == 3
    assert bits(restored.tree) == bits(make_tree(3))
    with pytest.raises(checkpoint.NoCheckpointError, match="of step 7"):
        checkpoint.restore(saved_twice, make_tree(0), step=7)


def test_restoring_writes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    checkpoint.restore(folder, make_tree(0))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_newest_checkpoints_are_kept(tmp_path):
    for step in range(4):
        checkpoint.save(tmp_path, step, one_leaf(step), {})
    assert checkpoint.steps(tmp_path) == [2, 3]
    checkpoint.save(tmp_path, 4, one_leaf(4), {}, keep=1)
    assert checkpoint.steps(tmp_path) == [4]
    assert [path.name for path in tmp_path.iterdir()] == ["4"]


def test_a_relative_directory_is_below_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save("runs/a", 0, one_leaf(1), {})
    assert (tmp_path / "runs" / "a" / "0").is_dir()
    assert checkpoint.steps("runs/a") == [0]
    assert checkpoint.restore("runs/a", one_leaf(0)).tree == {"a": 1}


def test_a_missing_directory_has_no_checkpoint_and_is_not_created(tmp_path):
    assert checkpoint.steps(tmp_path / "none") == []
    with pytest.raises(checkpoint.NoCheckpointError) as caught:
        checkpoint.restore(tmp_path / "none", one_leaf(0))
    assert caught.value.notes == ()
    assert not (tmp_path / "none").exists()


def test_any_difference_changes_the_digest():
    tree = make_tree(0)
    digests = [checkpoint.digest(tree)]
    for change in (
        {"special": tree["special"].at[1].set(0.0)},  # the sign of a zero
        {"key": tree["key"].at[1].set(7)},
        {"epoch": tree["epoch"].astype(jnp.float32)},
        {"empty": jnp.zeros((2, 0))},
        {"another": jnp.zeros(())},
    ):
        digests.append(checkpoint.digest({**tree, **change}))
    assert len(set(digests)) == len(digests)
    assert len(digests[0]) == 64


def test_the_digest_depends_on_names_of_fields_and_not_on_their_order():
    class Reordered(NamedTuple):
        count: jax.Array
        mean: jax.Array

    mean, count = jnp.array([0.5]), jnp.array([3])
    expected = checkpoint.digest(State(mean=mean, count=count))
    assert checkpoint.digest(Reordered(mean=mean, count=count)) == expected
    assert checkpoint.digest(Reordered(mean=count, count=mean)) != expected


def test_digests_are_those_of_earlier_versions():
    tree = {"b": np.arange(3, dtype=np.float32), "a": [np.array(True)]}
    assert checkpoint.digest(tree) == (
        "91ed4a0b178b15c103618240d07abd01d4fc6321f47475c359f0944d5757a698"
    )


def test_the_digest_does_not_depend_on_the_order_of_a_dictionary_or_on_the_host():
    a, b = np.arange(3.0, dtype=np.float32), np.ones(2, np.int32)
    expected = checkpoint.digest({"a": a, "b": b})
    assert checkpoint.digest({"b": jnp.asarray(b), "a": jnp.asarray(a)}) == expected


# Each kind of damage is done to the newest of two checkpoints.


def flip(path, position):
    """Inverts one byte; the position is a fraction of the file's length."""
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0xFF
    path.write_bytes(content)


def alter_meta(folder):
    path = description(folder, 4)
    text = path.read_text()
    assert '"epoch": 4' in text
    path.write_text(text.replace('"epoch": 4', '"epoch": 9'))


def swap_arrays(folder):
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
    "description cut": lambda d: os.truncate(description(d, 4), 20),
    "description altered": alter_meta,
    "description missing": lambda d: shutil.rmtree(description(d, 4).parent),
    "arrays missing": lambda d: shutil.rmtree(d / "4" / "state"),
    "arrays of another checkpoint": swap_arrays,
    "empty directory": empty,
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_damage_is_detected_and_the_checkpoint_before_is_restored(folder, kind):
    DAMAGE[kind](folder)
    restored = checkpoint.restore(folder, make_tree(0))
    assert restored.step == 3
    assert bits(restored.tree) == bits(make_tree(3))
    (note,) = restored.notes
    assert str(folder / "4") in note
    assert "is damaged" in note


def test_no_altered_byte_ever_changes_a_leaf(folder):
    path = payload(folder, 4)
    content = path.read_bytes()
    for position in np.linspace(0, 0.999, 12):
        path.write_bytes(content)
        flip(path, position)
        restored = checkpoint.restore(folder, make_tree(0))
        # A byte outside the leaves may change, so step 4 may still be valid.
        assert bits(restored.tree) == bits(make_tree(restored.step))


def test_if_all_checkpoints_are_damaged_each_is_named(folder):
    for number in (3, 4):
        payload(folder, number).unlink()
    with pytest.raises(checkpoint.NoCheckpointError) as caught:
        checkpoint.restore(folder, make_tree(0))
    assert len(caught.value.notes) == 2


def test_a_run_that_fell_back_can_save_the_damaged_step_again(folder):
    DAMAGE["byte altered"](folder)
    assert checkpoint.restore(folder, make_tree(0)).step == 3
    for step in (4, 5, 6):
        checkpoint.save(folder, step, make_tree(step + 10), {"epoch": step})
        restored = checkpoint.restore(folder, make_tree(0))
        assert restored.step == step
        assert restored.notes == ()
        assert bits(restored.tree) == bits(make_tree(step + 10))
        assert checkpoint.steps(folder) == [step - 1, step]


def test_saving_a_step_again_replaces_its_checkpoint(folder):
    checkpoint.save(folder, 4, make_tree(9), {"again": True})
    restored = checkpoint.restore(folder, make_tree(0))
    assert restored.meta == {"again": True}
    assert bits(restored.tree) == bits(make_tree(9))
    assert checkpoint.steps(folder) == [3, 4]


def test_damaged_checkpoints_do_not_count_among_those_that_are_kept(tmp_path):
    for step in range(4):
        checkpoint.save(tmp_path, step, one_leaf(step), {}, keep=3)
    for number in (2, 3):
        payload(tmp_path, number).unlink()
        description(tmp_path, number).unlink()
    assert checkpoint.restore(tmp_path, one_leaf(0)).tree == {"a": 1}
    checkpoint.save(tmp_path, 2, one_leaf(20), {}, keep=2)
    assert checkpoint.steps(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epoch": jnp.zeros(())}, r"\['epoch'\] it holds int32\[\], but float32\[\] "),
        ({"more": jnp.zeros(1)}, r"\['more'\] it holds nothing"),
        ({"key": jnp.zeros(2)}, r"\['key'\] .* uint32\[2\], but float32\[2\] is"),
        ({"special": jnp.zeros(3)}, r"\['special'\] .* float32\[4\], but float32\[3\]"),
    ],
)
def test_errors_name_the_leaf_that_does_not_fit(saved_twice, change, words):
    with pytest.raises(ValueError, match=words) as caught:
        checkpoint.restore(saved_twice, {**make_tree(0), **change})
    assert not isinstance(caught.value, checkpoint.NoCheckpointError)


def test_a_target_that_lacks_a_leaf_is_refused(saved_twice):
    target = make_tree(0)
    del target["flag"]
    with pytest.raises(ValueError, match=r"\['flag'\].* but nothing is expected"):
        checkpoint.restore(saved_twice, target)


@pytest.mark.parametrize(
    "leaf", ["text", np.array(["text"]), object(), 3, 0.5, jax.random.key(0)], ids=type
)
def test_a_leaf_that_is_no_array_of_numbers_is_refused(tmp_path, leaf):
    with pytest.raises(ValueError, match=r"Leaf \['a'\]"):
        checkpoint.save(tmp_path / "c", 0, {"a": leaf}, {})
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("step", "keep"), [(-1, 2), (0, 0)])
def test_a_negative_step_and_keeping_none_are_refused(tmp_path, step, keep):
    with pytest.raises(ValueError, match=f"keep is {keep} .* step {step} "):
        checkpoint.save(tmp_path, step, one_leaf(1), {}, keep=keep)


# Interruptions happen in separate processes.

WRITER = """
import sys
import numpy as np
from egnas_jax.storage import checkpoint

for step in range(int(sys.argv[2]), 10**6):
    tree = {"a": np.full(600_000, step, np.float32)}
    checkpoint.save(sys.argv[1], step, tree, {})
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
    target, last = {"a": jax.ShapeDtypeStruct((600_000,), jnp.float32)}, -1
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

checkpoint.save(sys.argv[1], 0, {"a": np.arange(10, dtype=np.int32)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
random = np.random.default_rng(0).integers(0, 255, 10**6, np.uint8)
try:
    checkpoint.save(sys.argv[1], 1, {"a": random}, {})
except OSError as error:
    print(error)
"""


def test_a_full_disk_raises_an_os_error_and_keeps_the_last_checkpoint(tmp_path):
    process = spawn(FULL_DISK, tmp_path)
    output, errors = process.communicate()
    assert "File too large" in output
    assert str(tmp_path / "1") in output
    assert errors == ""  # no library prints a traceback
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    restored = checkpoint.restore(tmp_path, {"a": jnp.zeros(10, jnp.int32)})
    np.testing.assert_array_equal(restored.tree["a"], np.arange(10))


def test_the_number_of_files_does_not_depend_on_the_number_of_leaves(tmp_path):
    # A file for each leaf would make a save thirty times slower.
    for step, leaves in enumerate((1, 300)):
        tree = {str(i): np.full((4, 4), i, np.float32) for i in range(leaves)}
        checkpoint.save(tmp_path, step, tree, {})
    one, many = (len(list((tmp_path / name).rglob("*"))) for name in "01")
    assert one == many
