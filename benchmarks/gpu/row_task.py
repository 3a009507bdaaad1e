"""Measures one program: compiles it, compares its first call with torch, times it."""

import statistics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import limits, parity, ranks, rows
from benchmarks.gpu import executables, jobs, programs
from benchmarks.gpu.child import Context
from benchmarks.gpu.ends import WrongError
from benchmarks.gpu.sizes import SIZES

REPEATS = 5


class ParityError(WrongError):
    """A program does not compute what torch does, or computes NaN."""


def measure_limits(context: Context, trial: bool) -> None:
    """Measures what the card can do at most."""
    check_platform(context)
    context.take_card()
    context.write("limits", limits.measure(trial))


def measure_row(
    context: Context, size: str, case: str, program: str, precision: str
) -> None:
    """Measures one row.

    Args:
      context: of the job.
      size: name of the campaign's size.
      case, program, precision: see `programs.build`.

    Raises:
      ParityError: the result is not finite, or differs from the golden numbers by more
        than the bounds of its precision. It has been written all the same.
    """
    check_platform(context)
    row = programs.build(SIZES[size](), case, program, precision)
    name = executables.name_of(size, case, program, precision, context.flags)
    if jobs.autotunes(context.flags):
        context.take_card()
    compiled, origin = executables.load_or_compile(
        row, context.settings.executables, name
    )
    context.take_card()
    timing = rows.timed(row, compiled, REPEATS)
    golden = parity.load(case)
    error = {} if golden is None else compare(row, compiled, timing, golden, program)
    wrong = parity.violations(error, precision, parity.case_named(case).images)
    if not is_finite(timing.first):
        wrong.append("values that are not finite")
    result = line_of(row, compiled, timing) | {
        "program": program,
        "origin": origin,
        "from_cache": compiled.from_cache,
        "beside": context.beside,
        "halted": context.halted,
        "parity": error,
        "wrong": wrong,
    }
    if programs.lowering_of(program):
        result["signature"] = parity.signature(timing.first)
    context.write(f"{program}, {precision}", result)
    if wrong:
        raise ParityError(
            f"{row.name} in {precision} is wrong: {', '.join(wrong)}. Its time is not "
            f"that of a right result. Look for the operation that differs from torch's."
        )


def is_finite(result: Any) -> bool:
    """Whether losses or weights are finite, of a result on the host.

    An exploration without one finite fitness changes nothing, and counts itself.
    """
    values = getattr(result, "params", getattr(result, "loss", result))
    skipped = getattr(getattr(result, "strategy", None), "skipped", 0)
    return not np.any(skipped) and all(
        bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(values)
    )


def check_platform(context: Context) -> None:
    """Refuses to measure another device than the campaign is for.

    Raises:
      RuntimeError: jax does not see the device.
    """
    platform = context.settings.platform
    if jax.default_backend() != platform:
        kinds = sorted({device.device_kind for device in jax.devices()})
        raise RuntimeError(
            f"jax {jax.__version__} sees {', '.join(kinds)} and no {platform}. Install "
            f"the extra cuda12 or cuda13 on a machine with an NVIDIA card."
        )


def line_of(
    row: rows.Row, compiled: rows.programs.Compiled, timing: rows.Timing
) -> dict:
    """What a row says of speed, work and memory."""
    seconds = statistics.median(timing.seconds)
    return {
        "seconds": seconds,
        "seconds_all": timing.seconds,
        "images_per_s": row.images / seconds,
        "compile_s": compiled.seconds,
        "program_bytes": compiled.bytes,
        "multiply_adds": row.products,
        "bytes": row.bytes,
        "individuals_at_a_time": row.individuals_at_a_time,
        "peak_bytes": memory_peak(),
    }


def memory_peak() -> int | None:
    """Most bytes in use at once; None where the backend does not count them."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use")


def compare(
    row: rows.Row,
    compiled: rows.programs.Compiled,
    timing: rows.Timing,
    golden: dict,
    program: str,
) -> dict[str, float]:
    """Differences from torch, {} where the golden file does not hold the program.

    Args:
      row, compiled, timing: what was measured.
      golden: arrays of `parity.load`.
      program: its name.
    """
    kind, _, batch_stats = program.partition("-")
    if kind == "population":
        first, theirs = timing.first, golden[f"loss_{batch_stats}"]
        error = parity.population_error(golden, batch_stats, first.loss, first.correct)
        return error | {"tau": ranks.kendall(theirs, first.loss[: len(theirs)])}
    if program != "weight-step":
        return {}
    # the first call made several steps
    state = jax.tree.map(jnp.copy, row.arguments[0])
    state = compiled.call(state, jnp.int32(1), *row.arguments[2:])
    state = jax.device_get(state)
    size = len(row.arguments[3].labels)
    return parity.step_error(golden, float(state.totals.loss) / size, state.optimizer)
