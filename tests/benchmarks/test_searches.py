"""The benchmark of K searches adds up epochs and compares within a round."""

import pytest

from benchmarks import searches


def test_an_epoch_of_k_is_compared_with_k_epochs_of_the_same_round(monkeypatch):
    seconds = iter([1.0, 2.0, 3.0, 2.0, 8.0, 6.0])
    monkeypatch.setattr(searches, "epoch_seconds", lambda size, count: next(seconds))
    size = searches.QUICK._replace(counts=(1, 2, 4), rounds=2)
    rows = searches.measure(size)["rows"]
    assert [row["epoch_s"] for row in rows.values()] == [1.5, 5.0, 4.5]
    assert [row["ratio"] for row in rows.values()] == [1.0, 1.5, 0.75]
    assert rows[2]["ratio_min"] == 1.0 and rows[2]["ratio_max"] == 2.0
    assert "| 4 | 4.50 | 0.75 (0.75 to 0.75) |" in searches.report({"rows": rows})


@pytest.mark.longest
def test_the_small_size_runs():
    result = searches.measure(searches.QUICK)
    assert result["rows"].keys() == {1, 2}
    assert all(row["epoch_s"] > 0 for row in result["rows"].values())
