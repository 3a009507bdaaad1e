"""Builds the programs of a search and of a retraining that are compiled for a card."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import epoch, parity, rows, together, traffic
from benchmarks.deviceless import cells
from benchmarks.deviceless.request import Request
from benchmarks.deviceless.sizes import Size
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.search.search_run import layout


def _of_row(row: rows.Row, steps: int = 1) -> Request:
    options = {"compiler_options": lowering.compiler_options(), **row.options}
    return Request(
        function=jax.jit(row.function, **options),
        arguments=row.arguments,
        images=row.images // steps,
        bytes=row.bytes,
        multiply_adds=row.products // steps,
        steps=steps,
    )


def _population(batch_stats: str):
    def build(size: Size, precision: str) -> Request:
        drawn = parity.draw(size.case)
        return _of_row(rows.population(size.case, drawn, precision, batch_stats))

    return build


def _weight_step(size: Size, precision: str) -> Request:
    return _of_row(rows.steps(size.case, parity.draw(size.case), precision, 1))


def _retraining(size: Size, precision: str) -> Request:
    row = rows.retrain(size.case, size.recipe, precision)
    return _of_row(row, rows.RETRAIN_STEPS)


def _epoch(name: str):
    """The piece of an epoch that `SearchPrograms` calls by this name."""

    def build(size: Size, precision: str) -> Request:
        plan = epoch.in_precision(size.plan, precision)
        blank = np.zeros((2 * plan.images, plan.side, plan.side, 3), np.uint8)
        run = epoch.make_run(plan, blank, np.zeros(len(blank), np.int32))
        program = getattr(run.programs, name)  # with the images bound to it
        arguments = *program.args, run.hyperparams, layout(run)
        if name == "train":
            arguments += ((jnp.int32(0), jnp.int32(1)),)
        images, passes = _images_of_piece(plan, name)
        per_image = traffic.forward_bytes(plan.supernet, plan.side)
        products = supernet_multiply_adds(plan.supernet, plan.side)
        return Request(
            function=program.func,
            arguments=arguments,
            images=images,
            bytes=images * passes * per_image,
            multiply_adds=images * passes * products,
        )

    return build


def _searches(make: Callable, count: int):
    """Pieces of K searches that one program carries at once."""

    def build(size: Size, precision: str) -> Request:
        request = _of_row(make(size.plan, precision, count))
        if make is together.evolve:
            return request
        # The number of weight steps is an argument, so its loop counts as one turn.
        steps = min(together.STEPS, size.plan.images // size.plan.batch_size)
        return request._replace(
            images=request.images // steps,
            bytes=request.bytes // steps,
            multiply_adds=request.multiply_adds // steps,
        )

    return build


def _images_of_piece(plan, name) -> tuple[int, int]:
    """Images of a piece of an epoch, and its passes over each: 3 where it trains."""
    return {
        "train": (plan.batch_size, traffic.STEP_PASSES),
        "evolve": (plan.strategy.images_evaluated, 1),
        "validate": (plan.images, 1),
    }[name]


PROGRAMS: dict[str, Callable[[Size, str], Request]] = {
    "population-running": _population("running"),
    "population-batch": _population("batch"),
    "weight-step": _weight_step,
    "epoch-train": _epoch("train"),
    "epoch-evolve": _epoch("evolve"),
    "epoch-validate": _epoch("validate"),
    "train-of-8": _searches(together.train, 8),
    "evolve-of-8": _searches(together.evolve, 8),
    "retraining-step": _retraining,
    **{name: cells.cell_request(name) for name in cells.PROGRAMS},
}
