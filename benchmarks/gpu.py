"""Measures parity and speed on one GPU, and the limits of the GPU, in nine minutes.

python -m benchmarks.gpu [--json FILE] [--images FILE...]
python -m benchmarks.gpu --quick --platform cpu     # a trial of the script

Needs no network and no data: golden files are in the repository, images are synthetic
unless --images names files (benchmarks/images.py), and torch is left out where it is
not installed. Rows are compiled several at a time and timed one by one. Parts that do
not fit the time are named, and when the time is up the script reports the parts that
are done. The JSON file is written anew after every part.
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

# torch uses the same GPU, in a process of its own, before our programs
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks import epoch, images, limits, opponent, parity, ranks, rows
from benchmarks.gpu_report import report
from benchmarks.session import Session, measure_wave, record_parity
from benchmarks.timing import say

STEPS = 8  # weight steps of a call, as in a search
GRACE = 10  # seconds that a part may exceed the time by
CHUNKS = (25, 10, 1)  # of the population, besides the chunk that a search would choose
ADVICE = """No GPU was found: jax sees {devices}.
Install the extra cuda12 or cuda13 (pip install -e ".[cuda12]") on a machine with an \
NVIDIA card.
To try the script without one: python -m benchmarks.gpu --quick --platform cpu"""


def check_population(golden, session: Session, row, timing) -> None:
    """Compares the first call of a population with torch."""
    first, what = timing.first, f"{row.name} ({row.precision})"
    if hasattr(first, "optimizer"):
        return  # a weight step, whose first call makes several: see `check_step`
    batch_stats = "batch" if "batch" in row.name else "running"
    error = parity.population_error(golden, batch_stats, first.loss, first.correct)
    theirs = golden[f"loss_{batch_stats}"]
    tau = ranks.kendall(theirs, first.loss[: len(theirs)])
    record_parity(session, what, row.precision, error | {"tau": tau})


def check_step(session: Session, precision: str, golden, size: int) -> None:
    """Compares one weight step of the program that is timed with torch."""
    programs = [
        program
        for (name, kind), program in session.programs.items()
        if name.startswith("weight step") and kind == precision
    ]
    for row, program in programs:
        state = jax.tree.map(jax.numpy.copy, row.arguments[0])
        one = jax.numpy.int32(1)
        state = jax.device_get(program.call(state, one, *row.arguments[2:]))
        loss = float(state.totals.loss) / size
        error = parity.step_error(golden, loss, state.optimizer)
        record_parity(session, f"{row.name} ({precision})", precision, error)


def main_rows(session: Session, case, drawn, golden, precision: str) -> None:
    """Checks and times population and weight step in one precision."""
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
    """Times steps of retraining."""
    kinds = ("bfloat16", "default")
    measure_wave(session, [rows.retrain(case, recipe, kind) for kind in kinds])


def chunk_rows(session: Session, case, drawn) -> None:
    """Times populations in other chunks than a search would choose."""
    sizes = [size for size in CHUNKS if size < case.individuals]
    measure_wave(
        session,
        [rows.population(case, drawn, "bfloat16", "batch", size) for size in sizes],
    )


def search_epoch(session: Session, plan, precision: str) -> None:
    """Times an epoch of the default search, and compares orders of individuals."""
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
    session.results["epoch"] = measured | {
        "precision": precision,
        "images": source,
        "compile_s": seconds,
    }
    session.save()
    if session.fits("orders of individuals"):
        held_out = pixels[plan.images :], labels[plan.images :]
        session.results["ranks"] = ranks.compare(plan, state, *held_out)


def data(pieces, plan):
    """Returns images, labels, and a description of their source."""
    count = 2 * plan.images
    if not pieces:
        return *images.synthetic(count, plan.side), "synthetic"
    pixels, labels, different = images.from_pieces(pieces, count)
    if pixels.shape[1:] != (plan.side, plan.side, 3):
        raise ValueError(
            f"--images holds images of shape {pixels.shape[1:]}; this run takes "
            f"{(plan.side, plan.side, 3)}. Omit --images, or name other files."
        )
    return pixels, labels, f"{different} different ones of {count}, from files"


def warm_compilation(session: Session) -> None:
    """Times the compilation of the first row with a warm cache."""
    if not session.programs or not session.fits("warm compilation"):
        return
    row, cold = next(iter(session.programs.values()))
    jax.clear_caches()
    warm = rows.compiled(row)
    session.results["compilation"] = {
        "program": f"{row.name} ({row.precision})",
        "cold_s": cold.seconds,
        "warm_s": warm.seconds,
        "cold_beside_others": True,
    }


def machine() -> dict:
    """Hardware and versions that the results depend on."""
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
    """Most bytes in use at once; None where the backend does not count them."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("peak_bytes_in_use")


def run(session: Session) -> None:
    """Runs all parts, the most important first."""
    options = session.options
    size = "trial" if options.quick else "full"
    case, plan = parity.CASES[size], epoch.TRIAL if options.quick else epoch.FULL
    recipe = rows.recipe(case, options.quick)
    results = session.results
    results["machine"], results["size"] = machine(), size
    say(f"{results['machine']['device']}, jax {results['machine']['jax']}")
    results["torch"] = opponent.measure(case, recipe, options.platform)
    results["limits"] = limits.measure(options.quick)
    drawn, golden = parity.draw(case), parity.load(size)
    if golden is None:
        make = f"python -m benchmarks.make_golden {size}"
        session.leave_out("parity", f"no golden file of this size; make it by {make}")
    session.part("float32", main_rows, case, drawn, golden, "float32")
    session.part("bfloat16", main_rows, case, drawn, golden, "bfloat16")
    session.part("an epoch of a search", search_epoch, plan, "bfloat16")
    session.part("retraining", retrain_rows, case, recipe)
    if options.platform == "gpu":  # a CPU has no TF32
        session.part("float32 by default", main_rows, case, drawn, golden, "default")
    session.part("chunks", chunk_rows, case, drawn)
    session.part("warm compilation", warm_compilation)
    results["peak_bytes"] = memory_peak()
    session.save()


def stop(session: Session) -> None:
    """Reports the results and ends the process; a compilation cannot be cancelled."""
    session.leave_out("the rest", "the time was up")
    session.save()
    print(report(session.results), flush=True)
    os._exit(1)


def main() -> int:
    """Runs the command; returns its exit code."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial at small size")
    parser.add_argument("--platform", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--seconds", type=float, default=520, help="time limit")
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
    print(report(session.results))
    return 1 if session.results["failed"] else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an abandoned compilation would keep the process alive
