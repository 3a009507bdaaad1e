"""Lists the three sets of options of EG-NAS: what they change of the defaults.

`config` explains the options, and docs/egnas.md compares the sets.
"""

_OFFICIAL = dict(
    batch_stats="running",
    centre="softmax",
    centre_noise="shared",
    candidates="constant",
    sigma="constant",
    generations=1,
    individual_mixing="normalised_softmax",
    similarity="normalised",
    tie="last",
    best_sample="accuracy",
    direction="double_softmax",
)
_OFFICIAL_SCHEDULE = dict(
    order="strategy_first",
    learning_rate_epoch="next",
    last_batch="keep",
    split="file_order",
    augment_valid=True,
    alpha_in_clip=True,
)
VARIANTS = {
    "paper": {},
    "official": _OFFICIAL,
    "reproduction": {**_OFFICIAL, "candidates": "run", "step": 0.6},
}
# name -> options of `search.strategy.EpochSchedule`
VARIANT_SCHEDULES = {
    "paper": {},
    "official": _OFFICIAL_SCHEDULE,
    "reproduction": _OFFICIAL_SCHEDULE,
}
DEFAULT_SEEDS = {"paper": 0, "official": 2, "reproduction": 2}
