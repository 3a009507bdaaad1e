"""Checks that a method fits its epochs: schedule, warm-up, and what steps drop."""

from collections.abc import Callable

from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.search_config import SearchConfig, with_limit_of
from egnas_jax.runs.stages import config_of_stage, planned_stages
from egnas_jax.strategies import STRATEGIES
from egnas_jax.strategies.limits.config import Limit


def searches_last(config: SearchConfig) -> bool:
    """Whether the method's only search follows the last weight step."""
    return getattr(config.strategy, "searches_last", False)


def check_schedule(config: SearchConfig) -> None:
    """Refuses a schedule of the epoch that a method cannot follow, or does not read.

    A method that would drop both edges and elements behind skips is refused too.

    Raises:
      ValueError: the method's only search would come before the last weight steps, a
        setting has no effect on the method, or the method has both `drop_path` and
        `skip_dropout`.
    """
    if searches_last(config) and config.schedule.order == "strategy_first":
        raise ValueError(
            "strategy.mode is two_phase, which searches after the last weight step, "
            "but schedule.order is strategy_first. Set schedule.order=weights_first "
            "or strategy.mode=interleaved."
        )
    _, make = STRATEGIES[config.strategy_name]
    # limits, which may have to be measured first, change nothing here
    first = config_of_stage(with_limit_of(config, Limit()), None)
    strategy = make(make_supernet(first.supernet), first.strategy)
    schedule = config.schedule
    if strategy.update_every == "step" and schedule.order == "strategy_first":
        raise ValueError(
            f"schedule.order is strategy_first, but {config.strategy_name} updates its "
            f"cell in every weight step, so there is no order. Leave it out."
        )
    if strategy.one_hot and schedule.alpha_in_clip:
        raise ValueError(
            f"schedule.alpha_in_clip is true, but {config.strategy_name} trains one "
            f"cell at a time, whose alpha has no gradient. Leave it out."
        )
    if strategy.learn is not None and schedule.alpha_in_clip:
        raise ValueError(
            f"schedule.alpha_in_clip is true, but {config.strategy_name} moves alpha "
            f"by the gradient of each weight step, so none accumulates. Leave it out."
        )
    if strategy.drop_path > 0 and strategy.skip_dropout is not None:
        raise ValueError(
            f"{config.strategy_name} has drop_path {strategy.drop_path} and "
            f"skip_dropout, but a weight step drops either edges or elements behind "
            f"skips. Leave one of them out."
        )


def warmup_of(config: SearchConfig) -> int:
    """Returns the first epochs in which the method leaves the architecture as it is."""
    # a method that may rank by untrained weights has no warm-up then
    return getattr(config.strategy, "first_exploration", config.strategy.warmup)


def note_long_warmup(config: SearchConfig, log: Callable[[str], None]) -> None:
    """Says where the warm-up takes a whole search, or a whole stage of it."""
    stages, warmup = planned_stages(config), warmup_of(config)
    epochs = min((stage.epochs for stage in stages), default=config.epochs)
    if warmup >= epochs:
        what = "epochs of a stage" if stages else "epochs"
        log(f"strategy.warmup is {warmup} and {what} {epochs}: alpha will not move.")
