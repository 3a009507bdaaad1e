"""What the ablations share: notes on images, and the agreement of weightings."""

import numpy as np
import pytest

from egnas_jax.strategies.egnas.weight_grid import PAIRS, ratio

DIGITS = "Ours on scikit-learn's digits (1,438 images of 8 x 8, and 359 to test)."
LIGHT = " Alpha takes no part in the clipped norm, short last batches are dropped."
OTHERS = "Ours on images that are not the size's."
LIGHT_SETTINGS = "schedule.alpha_in_clip=false schedule.last_batch=drop"


@pytest.mark.parametrize(
    "size, settings, note",
    [
        ("tiny", "", DIGITS + LIGHT),
        ("full", "", "Ours on CIFAR-10."),
        ("full", LIGHT_SETTINGS, "Ours on CIFAR-10." + LIGHT),
        ("small", "data.path=x.npz", OTHERS + LIGHT),
        ("small", "data.name=cifar10 schedule.last_batch=keep", OTHERS),
    ],
)
def test_a_note_says_on_which_images_searches_ran(size, settings, note, load, tmp_path):
    words = [word for text in settings.split() for word in ("--set", text)]
    parser = load("forks").make_parser("A text.")
    options = parser.parse_args(["--size", size, "--out", str(tmp_path), *words])
    assert load("forks").describe_images(options) == note


def test_agreement_is_described_for_weightings_that_differ(load):
    """By hand: all that are equal agree; 1, 0.2 and 0.2, 1 never, others in half."""
    describe = load("forks").describe_agreement
    ratios = np.array([ratio(pair) for pair in PAIRS])
    agreement = np.where(ratios[:, None] == ratios[None], 1.0, 0.5)
    assert len(set(ratios)) == 11
    assert "in 50 % (50 to 50)" in describe(agreement)
    i, j = PAIRS.index((1.0, 0.2)), PAIRS.index((0.2, 1.0))
    agreement[i, j] = agreement[j, i] = 0.0
    assert "(0 to 50)" in describe(agreement)
    assert describe(None) == ""


def test_agreement_counts_the_populations_that_were_evaluated(load):
    outcomes = [
        load("methods").Outcome(
            "a",
            seed,
            {},
            [
                {"candidate_images": 0, "grid_chosen": [[-1] * 16]},
                {"candidate_images": 9, "grid_chosen": [[1] * 15 + [last]]},
            ],
        )
        for seed, last in enumerate((1, 2, 2, 2))
    ]
    agreement = load("forks").agreement(outcomes)
    assert (agreement[0, 1], agreement[0, 15]) == (1, 0.25)
    outcomes[0].epochs[1].pop("grid_chosen")
    assert load("forks").agreement(outcomes[:1]) is None


@pytest.mark.parametrize(
    ("words", "is_noted"),
    [
        ("", True),
        ("--variant revised", False),  # its individuals race
        ("--set strategy.weight_grid=false", False),
    ],
)
def test_choices_of_all_weightings_are_noted_where_individuals_see_the_same_images(
    words, is_noted, load, tmp_path
):
    forks = load("forks")
    size = ["--size", "tiny", "--out", str(tmp_path)]
    options = forks.make_parser("A text.").parse_args([*size, *words.split()])
    job = forks._job(options, tmp_path, 0)
    assert job.config.strategy.weight_grid == is_noted
