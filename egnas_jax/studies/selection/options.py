"""Says which options the selectors take."""

import dataclasses

from egnas_jax.settings import check_choices, check_ranges

CRITERIA = ("accuracy", "loss")
VALUES = ("mean-std", "mean")
STATISTICS = ("batch", "running")  # of batch norm
SHARED = ("batches", "batch_size", "batch_stats", "seed")  # all selectors use them


@dataclasses.dataclass(frozen=True)
class SelectionOptions:
    """What selectors evaluate, and by which rules they choose.

    Attributes:
      batches: number of validation batches; None: all there are, at most 20.
      batch_size: images of a batch; None: those by which the run chooses.
      batch_stats: statistics of batch norm, of the "batch" or the "running" ones.
      criterion: "accuracy" or "loss", by which candidates are compared. The Shapley
        values are always those of the accuracy.
      seeds: how often a selector that draws is run, with consecutive seeds.
      seed: the first of them, and that of the validation batches.
      permutations: of the Shapley values.
      truncation: a permutation ends where the accuracy falls below this share of the
        whole supernet's.
      value: of the permutations' contributions, "mean-std" as published, or "mean".
      finetune: epochs of weight steps between the decisions of a selector that takes
        one after the other; 0: the weights stay as they are.

    Raises:
      ValueError: a value is outside its range.
    """

    batches: int | None = None
    batch_size: int | None = None
    batch_stats: str = "batch"
    criterion: str = "accuracy"
    seeds: int = 1
    seed: int = 0
    permutations: int = 10
    truncation: float = 0.5
    value: str = "mean-std"
    finetune: int = 0

    def __post_init__(self):
        most = 10**6
        ranges = {
            **dict.fromkeys(("batches", "batch_size", "permutations"), (1, most)),
            "seeds": (1, 1000),
            "finetune": (0, most),
            "seed": (0, 2**31 - 1),
            "truncation": (0.0, 1.0),
        }
        check_ranges(self, ranges)
        words = {"criterion": CRITERIA, "value": VALUES, "batch_stats": STATISTICS}
        check_choices(self, words)
