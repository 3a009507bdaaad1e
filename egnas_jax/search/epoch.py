"""Says what an epoch of a search consists of: steps, their rate, and their order."""

from egnas_jax.data.batches import num_steps
from egnas_jax.search.state import SearchProblem
from egnas_jax.training.sgd import learning_rate


def steps_of_epoch(problem: SearchProblem, num_train: int) -> int:
    """Returns the number of weight steps, 0 for a method that trains no weights.

    The short last batch counts where it is kept.
    """
    if not problem.strategy.trains_weights:
        return 0
    keep = problem.schedule.last_batch == "keep"
    return num_steps(num_train, problem.sgd.batch_size, keep)


def evolve_order(problem: SearchProblem) -> tuple[bool, bool]:
    """Says when a method that updates once an epoch does so.

    Returns:
      Whether `evolve` runs before the weight steps, and whether it runs after them.
    """
    once = problem.strategy.update_every == "epoch"
    first = problem.schedule.order == "strategy_first"
    return once and first, once and not first


def rate_of_epoch(problem: SearchProblem, epoch: int) -> float:
    """Returns the learning rate of an epoch of the search, or of its stage, from 0."""
    shift = problem.schedule.learning_rate_epoch == "next"
    return learning_rate(problem.sgd, epoch + shift)
