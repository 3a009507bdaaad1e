"""The run that another one started from is known by its digest, wherever it lies."""

import pytest

from egnas_jax.runs.origin import describe, find_source, recorded_origin
from egnas_jax.storage import records


@pytest.fixture
def source(tmp_path):
    """A run of two epochs."""
    folder = tmp_path / "source"
    folder.mkdir()
    for epoch, digest in enumerate("ab"):
        records.append(folder / "metrics.jsonl", {"epoch": epoch, "digest": digest})
    return folder


def find(tmp_path, restore, recorded, has_state):
    return find_source(tmp_path / "run", restore, recorded, has_state=has_state)


@pytest.mark.parametrize("has_state", [True, False])
def test_a_moved_origin_is_recognised_by_its_last_digest(source, tmp_path, has_state):
    recorded = describe(source, 2, "b")
    moved = source.rename(tmp_path / "moved")
    assert find(tmp_path, moved, recorded, has_state) == moved
    for digest in ("a", "c"):  # of an earlier epoch, of another run
        other = describe(source, 2, digest)
        with pytest.raises(ValueError, match=f"started from {source}, not from"):
            find(tmp_path, moved, other, has_state)


def test_a_run_goes_back_to_where_it_began(source, tmp_path):
    recorded = describe(source, 2, "b")
    assert find(tmp_path, None, recorded, False) == source
    assert find(tmp_path, source, recorded, False) == source
    assert find(tmp_path, None, None, False) is None
    assert find(tmp_path, source, None, False) == source  # it begins now
    with pytest.raises(ValueError, match="started from nothing, not from"):
        find(tmp_path, source, None, True)


def test_an_origin_that_is_gone_is_missed_only_without_a_checkpoint(tmp_path):
    recorded = describe(tmp_path / "gone", 2, "b")
    find(tmp_path, None, recorded, True)
    with pytest.raises(ValueError, match="name it by --restore"):
        find(tmp_path, None, recorded, False)


def test_an_origin_is_read_back(source, tmp_path):
    assert recorded_origin(source) is None
    origin = describe(source, 2, "b")
    assert origin == {"run": str(source), "epoch": 2, "digest": "b"}
    records.write_json(source / "restored.json", origin | {"later": 1})
    assert recorded_origin(source) == origin
    records.write_json(source / "restored.json", {"run": "x", "epoch": 1})
    with pytest.raises(ValueError, match="holds no 'digest'"):
        recorded_origin(source)
