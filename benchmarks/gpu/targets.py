"""Compiles programs for this machine's device, or for a card that is not there."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import rows
from benchmarks.deviceless import cards
from egnas_jax.nn import lowering
from egnas_jax.training.jax_settings import pinned
from egnas_jax.training.program_cache import ProgramRequest


def target(card: str | None) -> contextlib.AbstractContextManager:
    """A context with the device to compile for (None: this machine's) and its kind.

    Raises:
      ValueError: no card has this name.
    """
    if card is None:
        return contextlib.nullcontext((None, jax.devices()[0].device_kind))
    return _absent(cards.card_named(card))


@contextlib.contextmanager
def _absent(described: cards.Card):
    """A context with the device that stands for a card, and its kind."""
    from benchmarks.deviceless import compile

    compile.prepare()
    device = compile.device_of(described)
    with compile.as_if_on(described):
        yield device, described.name


def compile_row(row: rows.Row, device: Any | None) -> jax.stages.Compiled:
    """Compiles a row for a device of `deviceless.compile`, or for this machine's."""
    _, precision = rows.PRECISIONS[row.precision]
    options = {"compiler_options": lowering.compiler_options(), **row.options}
    with jax.default_matmul_precision(precision):
        return _compiled(jax.jit(row.function, **options), row.arguments, device)


@pinned()
def compile_request(request: ProgramRequest, device: Any | None) -> jax.stages.Compiled:
    """The same for a program of a search."""
    return _compiled(request.program.func, request.all_arguments, device)


def _compiled(
    function: Callable, arguments: tuple, device: Any | None
) -> jax.stages.Compiled:
    if device is None:
        with _uncached():
            return function.lower(*arguments).compile()
    from benchmarks.deviceless.compile import shapes_on

    traced = function.trace(*shapes_on(device, arguments))
    return traced.lower(lowering_platforms=("cuda",)).compile()


@contextlib.contextmanager
def _uncached():
    """A context that compiles anew: what JAX's cache returns cannot be serialised."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # it remembers whether it is used
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
