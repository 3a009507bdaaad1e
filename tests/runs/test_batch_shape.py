"""How many runs are computed at a time, and what devices compute of a batch."""

import functools
import json
from typing import NamedTuple

import pytest

from egnas_jax.runs import batch_shape
from egnas_jax.runs.batch_shape import (
    BatchShape,
    chosen_width,
    even_width,
    fitting_shape,
    reserved,
    shape_of,
)
from egnas_jax.runs.environment import environment, place_of, warn_of_changes
from egnas_jax.storage import records
from egnas_jax.training.out_of_memory import OutOfMemoryError


def test_batches_are_about_equally_full():
    widths = {(10, 4): 4, (5, 4): 3, (4, 4): 4, (3, 8): 3, (9, 8): 5, (7, 1): 1}
    for (count, most), width in widths.items():
        assert even_width(count, most) == width


def test_devices_divide_a_batch_and_none_is_idle():
    """(runs, at a time, devices) -> (runs of a device, devices in use)."""
    expected = {
        (8, 8, 8): (1, 8),
        (4, 4, 8): (1, 4),
        (5, 5, 4): (2, 3),
        (8, 8, 2): (4, 2),
        (8, 4, 2): (2, 2),
        (10, 4, 2): (2, 2),
        (9, 100, 4): (3, 3),
        (4, 1, 2): (1, 2),  # at least one run on each device
    }
    for (count, most, devices), shape in expected.items():
        width = even_width(count, min(most, count), devices)
        assert shape_of(count, width, devices) == shape


def test_the_place_of_a_run_is_that_in_the_program_of_its_device(tmp_path):
    shape = BatchShape(width=2, devices=3)
    assert shape.at_a_time == 6
    places = [shape.place(index, ["a", "b", "c", "d", "e"]) for index in range(5)]
    assert [place["device"] for place in places] == [0, 0, 1, 1, 2]
    assert [place["position"] for place in places] == [0, 1, 0, 1, 0]
    path = tmp_path / "environment.json"
    records.write_json(path, environment(None, places[3]))
    assert place_of(tmp_path) == (2, 1, True)
    records.write_json(path, environment(None))
    assert place_of(tmp_path) == (1, 0, False)
    records.write_json(path, {"batch": {"members": 4, "position": 3}})  # an earlier one
    assert place_of(tmp_path) == (4, 3, True)


def test_a_run_alone_and_a_batch_of_one_on_each_device_are_told_apart(tmp_path):
    notes, place = [], BatchShape(1, 8).place(3, ["run"])
    records.write_json(tmp_path / "environment.json", environment(None, place))
    warn_of_changes(tmp_path, notes.append, 1)
    assert not notes
    warn_of_changes(tmp_path, notes.append)
    assert "batch.batched: True -> False" in notes[0]


@pytest.fixture
def begun(tmp_path):
    """Four runs that began two on each of two devices."""
    shape = BatchShape(width=2, devices=2)
    folders = [tmp_path / f"seed{seed}" for seed in range(4)]
    for index, folder in enumerate(folders):
        folder.mkdir()
        text = json.dumps({"batch": shape.place(index, [])})
        (folder / "environment.json").write_text(text)
    return folders


def undecided():
    raise AssertionError("a run has begun")


@pytest.mark.parametrize(
    "batched, devices", [("auto", 1), (2, 1), ("on", 2), (4, 2), ("auto", 2), (3, 2)]
)
def test_runs_go_on_with_as_many_on_a_device_whatever_the_devices(
    batched, devices, begun
):
    assert chosen_width(begun, batched, devices, undecided) == 2
    with pytest.raises(ValueError, match="seed1 began at another position"):
        chosen_width(begun[1:3], 2 * devices, 1, undecided)


def test_runs_that_are_added_or_left_out_do_not_change_the_batches(begun, tmp_path):
    """Of three on a device, fewer or more runs would be divided in another way."""
    for index, folder in enumerate(begun):
        place = json.dumps({"batch": BatchShape(width=3).place(index, [])})
        (folder / "environment.json").write_text(place)
    for count in (1, 2, 4):
        assert chosen_width(begun[:count], 3, 1, undecided) == 3
    assert chosen_width([*begun, tmp_path / "seed4"], 3, 1, undecided) == 3
    assert chosen_width(begun[:2], 6, 2, undecided) == 3


@pytest.mark.parametrize(
    "batched, devices, option",
    [("on", 1, 2), ("off", 1, 2), ("off", 2, 4), ("on", 4, 8), (2, 2, 4)],
)
def test_runs_that_would_go_on_in_other_batches_are_refused(
    batched, devices, option, begun
):
    message = f"began in batches of 2 a device.*--batched {option}"
    with pytest.raises(ValueError, match=message):
        chosen_width(begun, batched, devices, undecided)


def test_runs_that_began_alone_go_on_alone(begun):
    for folder in begun:
        (folder / "environment.json").write_text(json.dumps({"batch": {"members": 1}}))
    for batched in ("auto", "off", 1):
        assert chosen_width(begun, batched, 2, undecided) == 0
    with pytest.raises(ValueError, match="began one after another.*--batched off"):
        chosen_width(begun, "on", 2, undecided)


class Programs(NamedTuple):
    """Those of a batch, the largest of which reserves ten bytes for each run."""

    train: functools.partial
    other: functools.partial


class Program:
    def __init__(self, size):
        self.size = size

    def __call__(self):
        raise AssertionError("nothing is computed")

    def memory_analysis(self):
        class Analysis:
            argument_size_in_bytes = 4 * self.size
            output_size_in_bytes = 3 * self.size
            temp_size_in_bytes = 6 * self.size
            alias_size_in_bytes = 3 * self.size

        return Analysis


@pytest.mark.parametrize(
    "count, free, devices, expected",
    [
        (8, 1000, 1, (8, 1)),
        (8, 88, 1, (4, 1)),
        (10, 60, 1, (5, 1)),
        (5, 23, 1, (2, 1)),
        (5, 1, 1, (1, 1)),
        (8, 1000, 4, (2, 4)),
        (40, 88, 4, (5, 4)),
        (5, 23, 4, (2, 3)),
        (5, 1, 4, (1, 4)),
    ],
)
def test_as_many_runs_are_computed_as_the_memory_of_each_device_holds(
    count, free, devices, expected, monkeypatch
):
    tried = []

    def compiled(shape):
        tried.append(shape)
        if shape.width > 9:  # as the compiler of a GPU does
            raise OutOfMemoryError("train", "too large")
        sizes = shape.width, shape.width - 1
        return Programs(*(functools.partial(Program(size)) for size in sizes))

    monkeypatch.setattr(batch_shape, "free_bytes", lambda: free)
    found = fitting_shape(count, devices, compiled)
    assert found == expected == tried[-1]
    assert reserved(compiled(found)) == 10 * found.width
