"""The benchmark of compilation compares both orders within a round."""

import pytest

from benchmarks import second_order


def test_a_form_is_compared_with_the_first_order_of_the_same_round(monkeypatch):
    seconds = iter([10.0, 20.0, 40.0, 160.0])
    monkeypatch.setattr(
        second_order, "compile_seconds", lambda size, form: next(seconds)
    )
    result = second_order.measure(second_order.QUICK._replace(rounds=2))
    row = result["rows"]["exact"]
    assert (row["compile_s"], row["ratio"]) == (90.0, 3.0)  # of 2 and 4
    assert (row["ratio_min"], row["ratio_max"]) == (2.0, 4.0)
    text = second_order.report(result)
    assert "| exact | 90 | 3.00 (2.00 to 4.00) |" in text
    assert text.endswith("The exact form keeps 3 times.")
    row["ratio"] = 3.1
    assert second_order.report(result).endswith("exceeds 3 times.")


@pytest.mark.longest
def test_the_small_size_runs():
    result = second_order.measure(second_order.QUICK)
    assert result["rows"].keys() == {"off", "exact"}
    assert all(row["compile_s"] > 0 for row in result["rows"].values())
