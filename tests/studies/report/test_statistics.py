"""Means, intervals and tests, by hand and by tables."""

import pytest

from egnas_jax.studies.report.statistics import compare, summarise


def test_a_summary_is_the_books():
    of = summarise([1.0, 2.0, 3.0, 4.0])
    assert (of.mean, of.n) == (2.5, 4)
    assert of.spread == pytest.approx((5 / 3) ** 0.5)
    # Student's t for 3 degrees of freedom, 97.5 %: 3.1824
    assert of.high - of.mean == pytest.approx(3.1824 * (5 / 3) ** 0.5 / 2, rel=1e-4)
    assert of.mean - of.low == pytest.approx(of.high - of.mean)
    assert summarise([7.0]) == (7.0, None, 1, None, None)


def test_groups_are_paired_by_the_seeds_they_share():
    values = {"a": {0: 1.0, 1: 2.0, 2: 4.0, 9: 50.0}, "b": {0: 0.0, 1: 0.0, 2: 1.0}}
    (one,) = compare(values)
    assert (one.first, one.second, one.n, one.difference) == ("a", "b", 3, 2.0)
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641, two-sided p of 2 degrees
    t = 2 * 3**0.5
    assert one.t_test == pytest.approx(1 - t / (2 + t * t) ** 0.5)
    assert one.wilcoxon == pytest.approx(2 / 2**3)  # all of one sign
    assert one.holm == one.t_test
    assert compare({"a": {0: 1.0}, "b": {1: 1.0}}) == []


def test_holm_multiplies_the_least_by_all_and_never_falls():
    noise = [0.0, 0.1, -0.1, 0.05]
    values = {
        name: {s: far * (s + 1) + noise[(s * step) % 4] for s in range(4)}
        for name, far, step in (("a", 0, 1), ("b", 1, 3), ("c", 0.01, 2))
    }
    found = sorted(compare(values), key=lambda one: one.t_test)
    assert found[0].holm == pytest.approx(3 * found[0].t_test)
    assert found[1].holm == pytest.approx(max(found[0].holm, 2 * found[1].t_test))
    assert found[2].holm == pytest.approx(max(found[1].holm, found[2].t_test))


def test_equal_differences_and_single_pairs_have_no_t_test():
    (same,) = compare({"a": {0: 0.3, 1: 0.4}, "b": {0: 0.1, 1: 0.2}})
    assert same.t_test is None and same.holm is None
    (equal,) = compare({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}})
    assert equal.wilcoxon is None
    (single,) = compare({"a": {0: 1.0}, "b": {0: 3.0}})
    assert (single.difference, single.low, single.t_test) == (-2.0, None, None)


@pytest.mark.parametrize(
    "differences, expected",
    [
        ([1, 1, 1, 1], 2 / 2**4),  # by hand: as extreme are all and none of the signs
        ([1, 1, 1, 1, 2], 2 / 2**5),
        ([1, 1, 0, 1], 2 / 2**3),  # a zero is no pair
        # ranks 2 2 2 4, sum 10 of which 2 is negative: 0 and 2 in 4 of 16, both sides
        ([1, -1, 1, 2], 2 * 4 / 2**4),
        # ranks 1.5 1.5 3: 0 and 1.5 in 1 + 2 of 8; 0.3 - 0.1 is 0.2 but for rounding
        ([-(0.3 - 0.1), 0.2, 0.4], 2 * 3 / 2**3),
    ],
)
def test_ties_leave_wilcoxon_exact(differences, expected):
    groups = {"a": dict(enumerate(differences)), "b": dict.fromkeys(range(9), 0.0)}
    (one,) = compare(groups)
    assert one.wilcoxon == pytest.approx(expected)
