"""Compares measured rows with one another: lowerings, flags, searches together."""

from benchmarks import parity
from benchmarks.gpu.found import loaded, results, rows_of
from benchmarks.gpu.jobs import PLAIN, Job
from benchmarks.gpu.memory import Memory
from benchmarks.gpu.programs import lowering_of


def lowerings(memory: Memory, jobs: list[Job]) -> str:
    """One mixed cell in each lowering, beside `auto`.

    A speed above 1 is faster than `auto`. The difference is the largest of a leaf's
    signature; without a result of `auto` both are left out.
    """
    measured = {
        (*lowering_of(row["program"]), job.options["precision"]): row
        for job, row in rows_of(memory, jobs)
        if lowering_of(row["program"])
    }
    lines = [
        "| one cell | lowering | ms | speed against `auto` | differs from `auto` by |",
        "|---|---|---|---|---|",
    ]
    for (cell, name, precision), row in measured.items():
        speed = difference = "-"
        auto = measured.get((cell, "auto", precision))
        if auto and name != "auto":
            speed = f"{auto['seconds'] / row['seconds']:.2f}"
            error = parity.signature_error(auto["signature"], row["signature"])
            difference = f"{100 * error:.2g} %"
        lines.append(
            f"| {cell}, {precision} | {name} | {1e3 * row['seconds']:.4g} | {speed} | "
            f"{difference} |"
        )
    return "\n".join(lines) if measured else ""


def costs_of_flags(memory: Memory, jobs: list[Job]) -> str:
    """How long a call and a compilation take with other flags of XLA.

    The ratios are to the row of the same program and precision with plain flags.
    """
    measured = [
        ((row["program"], job.options["precision"]), job, row)
        for job, row in rows_of(memory, jobs)
        if job.stage.name in ("speed", "deterministic", "autotuning")
    ]
    plain = {what: row for what, job, row in measured if job.flags == PLAIN}
    return "\n".join(
        f"- {job.stage.name}: {', '.join(what)}: {_ratios(row, plain[what])}"
        f"{_tuned_before(memory, job)}"
        for what, job, row in measured
        if job.flags != PLAIN and what in plain
    )


def _tuned_before(memory: Memory, job: Job) -> str:
    """Says that the cache of an autotuned job may hold results of earlier attempts."""
    attempts = memory.jobs[job.name]["attempts"]
    if not job.autotunes or attempts == 1:
        return ""
    return f" (attempt {attempts}; earlier ones may have tuned some kernels)"


def _ratios(row: dict, plain: dict) -> str:
    """Seconds of a row over those of the plain one, and those of its compilation."""
    text = f"{row['seconds'] / plain['seconds']:.2f} times the seconds of the plain row"
    if loaded(row) or loaded(plain):
        return text
    return f"{text}, {row['compile_s'] / plain['compile_s']:.1f} times its compilation"


def together(memory: Memory) -> str:
    """How much faster K searches are in one program than one after another.

    Individuals at a time are named, since an exploration in parts is slower.
    """
    measured = {
        row["program"]: row
        for job in memory.jobs
        if job.startswith("together: ")
        for row in results(memory, job).values()
    }
    lines = []
    for program, row in measured.items():
        piece, _, count = program.partition("-of-")
        alone = measured.get(f"{piece}-of-1")
        if count != "1" and alone:
            gain = row["images_per_s"] / alone["images_per_s"]
            chunks = (
                row.get("individuals_at_a_time"),
                alone.get("individuals_at_a_time"),
            )
            parts = f" ({chunks[0]} individuals at a time, alone {chunks[1]})"
            lines.append(
                f"- {count} searches, {piece}{parts if chunks[0] else ''}: {gain:.2f} "
                f"times as fast"
            )
    return "\n".join(lines)
