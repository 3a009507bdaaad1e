"""Lists the four sets of options of EG-NAS: what they change of the defaults.

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
# Ours: no paper has it. experiments/revised.py says how it was chosen.
_REVISED = dict(
    fitness_batches="auto",
    fitness_batch_size=32,  # a race costs what one batch of 128 images does
    centre="one_hot",
    repeats="redrawn",
    sigma_start=4.0,
    sigma_floor=0.4,
    samples=1,
    generations=1,
    sign="off",
    direction="z_minus_alpha",
    step=1.0,
    accept="as_good",
)
VARIANTS = {
    "paper": {},
    "official": _OFFICIAL,
    "reproduction": {**_OFFICIAL, "candidates": "run", "step": 0.6},
    "revised": _REVISED,
}
READINGS = ("paper", "official", "reproduction")  # of the publication and its codes
# name -> options of `search.epoch_schedule.EpochSchedule`
VARIANT_SCHEDULES = {
    "paper": {},
    "official": _OFFICIAL_SCHEDULE,
    "reproduction": _OFFICIAL_SCHEDULE,
    "revised": {},
}
DEFAULT_SEEDS = {"paper": 0, "official": 2, "reproduction": 2, "revised": 0}
# variant -> the options that keep the variant's values under a preset that sets other
# ones; all other options take the values of the preset
DECIDED_BY_VARIANT = {
    "paper": (),
    "official": ("generations",),
    "reproduction": ("generations",),
    "revised": ("generations", "samples", "fitness_batch_size"),
}
