"""Parity and speed on one GPU, against what the card can do, in under nine minutes.

python -m benchmarks.gpu [--json FILE] [--images FILE...]
python -m benchmarks.gpu --quick --platform cpu     # a trial of the script, no figures

Needs no network and no data: it brings golden files, makes images up where none are
given (benchmarks/images.py), and leaves torch out where there is none. Rows are
compiled several at a time and timed alone; what does not fit the time is named, and
when the time is up the report is of what there is. The JSON file is written again after
every part.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import sys
import tempfile
import threading
import time

# torch runs on the same card, in a process of its own, before our programs
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks import epoch, images, limits, opponent, parity, ranks, rows
from benchmarks.gpu_report import report
from benchmarks.session import Session, judge, measure_wave
from benchmarks.timing import say

STEPS = 8  # of a call, as in a search
GRACE = 10  # seconds that a part may take beyond the time
CHUNKS = (25, 10, 1)  # of the population, beside what a search would choose
ADVICE = """No GPU was found: jax sees {devices}.
Install the extra cuda12 or cuda13 (pip install -e ".[cuda12]") on a machine with an \
NVIDIA card.
To try the script without one: python -m benchmarks.gpu --quick --platform cpu"""


def check_population(golden, session: Session, row, timing) -> None:
    """Compares a population's first call with torch."""
    first, what = timing.first, f"{row.name} ({row.precision})"
    if hasattr(first, "optimizer"):
        return  # its first call makes several steps: see `check_step`
    batch_stats = "batch" if "batch" in row.name else "running"
    error = parity.population_error(golden, batch_stats, first.loss, first.correct)
    theirs = golden[f"loss_{batch_stats}"]
    tau = ranks.kendall(theirs, first.loss[: len(theirs)])
    judge(session, what, row.precision, error | {"tau": tau})


def check_step(session: Session, precision: str, golden, size: int) -> None:
    """One weight step by the program that is timed."""
    found = [
        p
        for (n, kind), p in session.programs.items()
        if n.startswith("weight step") and kind == precision
    ]
    for row, program in found:
        state = jax.tree.map(jax.numpy.copy, row.arguments[0])
        one = jax.numpy.int32(1)
        state = jax.device_get(program.call(state, one, *row.arguments[2:]))
        loss = float(state.totals.loss) / size
        error = parity.step_error(golden, loss, state.optimizer)
        judge(session, f"{row.name} ({precision})", precision, error)


def main_rows(session: Session, case, drawn, golden, precision: str) -> None:
    """Population and weight step in one precision, checked and timed."""
    wave = [
        rows.population(case, drawn, precision, "running"),
        rows.population(case, drawn, precision, "batch"),
        rows.steps(case, drawn, precision, STEPS),
    ]
    check = golden and functools.partial(check_population, golden)
    measure_wave(session, wave, check)
    if golden:
        check_step(session, precision, golden, case.batch)


def retrain_rows(session: Session, case, recipe) -> None:
    """Steps of retraining."""
    kinds = ("bfloat16", "default")
    measure_wave(session, [rows.retrain(case, recipe, kind) for kind in kinds])


def chunk_rows(session: Session, case, drawn) -> None:
    """Other chunks of the population than a search would choose."""
    sizes = [size for size in CHUNKS if size < case.individuals]
    measure_wave(
        session,
        [rows.population(case, drawn, "bfloat16", "batch", size) for size in sizes],
    )


def search_epoch(session: Session, plan, precision: str) -> None:
    """An epoch of the default search, and the order of individuals after it."""
    if not session.fits("an epoch of a search"):
        return
    pixels, labels, source = data(session.options.images, plan)
    dtype, _ = rows.PRECISIONS[precision]
    supernet = dataclasses.replace(plan.supernet, dtype=dtype)
    plan = dataclasses.replace(plan, supernet=supernet)
    run = epoch.make_run(plan, pixels, labels)
    run, seconds = epoch.compile_programs(run)
    say(f"the programs of a search compiled in {seconds:.0f} s")
    measured, state = epoch.measure(run, plan)
    session.found["epoch"] = measured | {
        "precision": precision,
        "images": source,
        "compile_s": seconds,
    }
    session.save()
    if session.fits("orders of individuals"):
        held_out = pixels[plan.images :], labels[plan.images :]
        session.found["ranks"] = ranks.compare(plan, state, *held_out)


def data(pieces, plan):
    """Images, labels, and where they come from."""
    count = 2 * plan.images
    if not pieces:
        return *images.made_up(count, plan.side), "made up"
    pixels, labels, different = images.from_pieces(pieces, count)
    if pixels.shape[1:] != (plan.side, plan.side, 3):
        raise ValueError(
            f"--images holds images of shape {pixels.shape[1:]}; this run takes "
            f"{(plan.side, plan.side, 3)}. Leave --images out, or give others."
        )
    return pixels, labels, f"{different} different ones of {count}, from files"


def warm_compilation(session: Session) -> None:
    """Compiles the first row again, from the cache on disk."""
    if not session.programs or not session.fits("warm compilation"):
        return
    row, cold = next(iter(session.programs.values()))
    jax.clear_caches()
    warm = rows.compiled(row)
    session.found["compilation"] = {
        "program": f"{row.name} ({row.precision})",
        "cold_s": cold.seconds,
        "warm_s": warm.seconds,
        "cold_beside_others": True,
    }


def machine() -> dict:
    """What figures depend on."""
    device = jax.devices()[0]
    installed = {part.name: part.version for part in importlib.metadata.distributions()}
    names = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "torch")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": device.device_kind,
        "devices_seen": jax.device_count(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "packages": {name: installed[name] for name in names if name in installed},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def memory_peak() -> int | None:
    """Largest number of bytes that were in use at once; None where nobody counts."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use")


def run(session: Session) -> None:
    """All parts, in the order of their worth."""
    options = session.options
    size = "trial" if options.quick else "full"
    case, plan = parity.CASES[size], epoch.TRIAL if options.quick else epoch.FULL
    recipe = rows.recipe(case, options.quick)
    found = session.found
    found["machine"], found["size"] = machine(), size
    say(f"{found['machine']['device']}, jax {found['machine']['jax']}")
    found["torch"] = opponent.measure(case, recipe, options.platform)
    found["limits"] = limits.measure(options.quick)
    given = case, parity.draw(case), parity.load(size)
    if given[-1] is None:
        make = f"python -m benchmarks.make_golden {size}"
        session.leave_out("parity", f"no golden file of this size; make it by {make}")
    session.part("float32", main_rows, *given, "float32")
    session.part("bfloat16", main_rows, *given, "bfloat16")
    session.part("an epoch of a search", search_epoch, plan, "bfloat16")
    session.part("retraining", retrain_rows, case, recipe)
    if options.platform == "gpu":  # a CPU has no TF32
        session.part("float32 by default", main_rows, *given, "default")
    session.part("chunks", chunk_rows, *given[:2])
    session.part("warm compilation", warm_compilation)
    found["peak_bytes"] = memory_peak()
    session.save()


def stop(session: Session) -> None:
    """Ends the process with what there is: a compilation cannot be broken off."""
    session.leave_out("the rest", "the time was up")
    session.save()
    print(report(session.found), flush=True)
    os._exit(1)


def main() -> int:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial at small size")
    parser.add_argument("--platform", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--seconds", type=float, default=520, help="time to keep to")
    parser.add_argument("--images", type=pathlib.Path, nargs="+", metavar="FILE")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    if options.platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
        print(ADVICE.format(devices=f"only {devices}"), file=sys.stderr)
        return 2
    session = Session(options, started)
    end = threading.Timer(options.seconds + GRACE, stop, [session])
    end.daemon = True
    end.start()
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        run(session)
    end.cancel()
    print(report(session.found))
    return 1 if session.found["failed"] else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a compilation that was given up would hold the process
