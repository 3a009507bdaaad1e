"""Measures population, weight step, epoch, compile time and memory against torch.

python -m benchmarks [--quick] [--json FILE]

Needs the extra `bench` (torch). Runs on the CPU of this machine, which should be idle.
benchmarks/README.md explains the numbers.
"""

import contextlib
import json
import os
import pathlib
import platform
import tempfile
import time
from typing import NamedTuple

from benchmarks import problem, traffic
from benchmarks.command import publish, sized_command
from benchmarks.timing import Comparison, alternate, ratio_text, say
from benchmarks.worker import Worker, WorkerError
from egnas_jax.nn.supernet import SupernetConfig
from egnas_jax.nn.supernet_cost import supernet_multiply_adds
from egnas_jax.search.evaluate import STATISTICS

# By default glibc returns freed arrays of this size to the kernel and requests them
# again at every call; torch is 1.5 times as fast when it keeps them.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
# Our weight step requests gigabytes of fresh memory per call; populations gain nothing
# by huge pages. Torch, which keeps its memory, gains 3 %, but then both sides together
# need more than 24 GB.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Settings of the torch loop. Ours is compared with the fastest on this machine; --quick
# takes the first, which was the fastest wherever all were tried.
POPULATION_SETTINGS = [
    dict(processes=2, channels_last=True, chunk=64),
    dict(processes=1, channels_last=True, chunk=128),
    dict(processes=1, channels_last=True, chunk=64),
    dict(processes=1, channels_last=False, chunk=128),
]
STEP_SETTINGS = [
    dict(channels_last=True),
    dict(channels_last=False),
]
# an epoch of a `paper` search on CIFAR-10, in units of the measured parts
EPOCH_STEPS, EPOCH_VALIDATION, EPOCH_CANDIDATES = 97, 25_000 / problem.IMAGES, 459


class Size(NamedTuple):
    """How much is measured.

    Attributes:
      individuals: size of the population.
      pairs: number of pairs of runs.
      steps: weight steps of one call.
      tries: number of torch settings that are tried.
      searches: whether the programs of a search are compiled too.
    """

    individuals: int
    pairs: int
    steps: int
    tries: int
    searches: bool


QUICK, FULL = Size(4, 3, 1, 1, False), Size(50, 5, 8, 4, True)


class TorchPopulation:
    """The torch loop under one setting, in one or several processes."""

    def __init__(self, folder, *, processes, channels_last, chunk):
        threads = max(1, os.cpu_count() // processes)
        env = {**KEEP_MEMORY, "OMP_NUM_THREADS": str(threads)}
        self.chunk = chunk
        self.workers = [
            Worker("torch", folder, env, channels_last=channels_last, threads=threads)
            for _ in range(processes)
        ]

    def __call__(self, individuals: int, batch_stats: str) -> dict:
        shares = [
            list(range(i, individuals, len(self.workers)))
            for i in range(len(self.workers))
        ]
        for worker, share in zip(self.workers, shares, strict=True):
            worker.start(
                "population",
                individuals=share,
                batch_stats=batch_stats,
                chunk=self.chunk,
            )
        results = [worker.finish() for worker in self.workers]
        loss, correct = [0.0] * individuals, [0] * individuals
        for share, result in zip(shares, results, strict=True):
            for index, *scores in zip(
                share, result["loss"], result["correct"], strict=True
            ):
                loss[index], correct[index] = scores
        seconds = max(result["seconds"] for result in results)
        return {"seconds": seconds, "loss": loss, "correct": correct}

    def close(self):
        for worker in self.workers:
            worker.close()


def fastest(settings: list[dict], seconds, images: int) -> tuple[dict, dict]:
    """Returns the fastest setting, and the images per second of every setting.

    A single setting is returned without a measurement.
    """
    if len(settings) == 1:
        return settings[0], {}
    rates = {}
    for setting in settings:
        try:
            rates[json.dumps(setting)] = rate = images / seconds(setting)
        except WorkerError:
            say(f"torch {setting}: left out, since its process crashed")
        else:
            say(f"torch {setting}: {rate:.1f} images/s")
    if not rates:
        raise SystemExit(
            "Every setting of the torch loop crashed, so nothing was timed. See the "
            "errors of its processes above."
        )
    return json.loads(max(rates, key=rates.get)), rates


def torch_worker(folder, *, channels_last: bool) -> Worker:
    threads = os.cpu_count()
    env = KEEP_MEMORY | {"OMP_NUM_THREADS": str(threads)}
    return Worker("torch", folder, env, threads=threads, channels_last=channels_last)


def check_equal(what: str, theirs: dict, ours: dict) -> float:
    """Largest relative difference of the losses.

    Raises:
      SystemExit: a loss differs by more than 1e-4 or is NaN, or correct answers differ
        by more than one image, which a tie may cause.
    """
    differences = [
        abs(a - b) / abs(a) for a, b in zip(theirs["loss"], ours["loss"], strict=True)
    ]
    answers = zip(theirs.get("correct", ()), ours.get("correct", ()), strict=True)
    wrong = max((abs(a - b) for a, b in answers), default=0)
    say(f"{what}: losses differ by {max(differences):.1e}")
    if not all(difference < 1e-4 for difference in differences) or wrong > 1:
        raise SystemExit(
            f"{what} is not timed: our losses {ours['loss']} and torch's "
            f"{theirs['loss']} differ by up to {max(differences):.1e}, correct answers "
            f"by {wrong} images."
        )
    return max(differences)


def compare_populations(folder, ours, size: Size) -> dict:
    """Compares populations under running and under batch statistics.

    Args:
      folder: folder of the problem.
      ours: our process, with compiled programs.
      size: how much is measured.

    Returns:
      Kind of statistics -> comparison, and the conditions of the measurement.
    """

    def seconds(setting):
        with contextlib.closing(TorchPopulation(folder, **setting)) as run:
            return min(run(few, "running")["seconds"] for _ in range(2))

    few = min(size.individuals, 4)
    setting, rates = fastest(
        POPULATION_SETTINGS[: size.tries], seconds, few * problem.IMAGES
    )
    torch, results = TorchPopulation(folder, **setting), {}
    for batch_stats in STATISTICS:

        def theirs(batch_stats=batch_stats):
            return torch(size.individuals, batch_stats)

        def our_population(batch_stats=batch_stats):
            return ours("population", batch_stats=batch_stats)

        what = f"population, {batch_stats}"
        difference = check_equal(what, theirs(), our_population())
        compared = alternate(theirs, our_population, size.pairs)
        results[batch_stats] = (
            compared,
            {
                "threads": os.cpu_count(),
                "individuals": size.individuals,
                "images": problem.IMAGES,
                "loss_difference": difference,
                "torch_setting": setting,
                "torch_images_per_s": rates,
            },
        )
    torch.close()
    return results


def compare_steps(folder, ours, size: Size) -> tuple[Comparison, dict]:
    """Compares weight steps; arguments and result as in `compare_populations`."""

    def seconds(setting):
        with contextlib.closing(torch_worker(folder, **setting)) as worker:
            return min(worker("weight_step", steps=1)["seconds"] for _ in range(2))

    setting, rates = fastest(STEP_SETTINGS[: size.tries], seconds, problem.BATCH)
    torch = torch_worker(folder, **setting)
    two = torch("weight_step", steps=2), ours("weight_step", steps=1)
    difference = check_equal("weight step", *two)
    compared = alternate(
        lambda: torch("weight_step", steps=size.steps),
        lambda: ours("weight_step", steps=size.steps),
        size.pairs,
    )
    torch.close()
    return compared, {
        "threads": os.cpu_count(),
        "batch": problem.BATCH,
        "steps_per_call": size.steps,
        "loss_difference": difference,
        "torch_setting": setting,
        "torch_images_per_s": rates,
    }


def epoch_of(step, running, batch, individuals) -> Comparison:
    """Seconds of a whole search epoch, added up from the parts of each pair."""

    def total(step, running, batch):
        return [
            EPOCH_STEPS * a
            + (EPOCH_VALIDATION * b + EPOCH_CANDIDATES * c) / individuals
            for a, b, c in zip(step, running, batch, strict=True)
        ]

    return Comparison(
        total(step.theirs, running.theirs, batch.theirs),
        total(step.ours, running.ours, batch.ours),
    )


def of_limits(limits: dict, seconds: float, images: int, passes: int) -> dict:
    """Shares of the measured limits that a call reaches.

    A multiply-add counts as two operations. Bytes are those of perfectly fused kernels
    without a cache (benchmarks/traffic.py), so the share of the memory limit may exceed
    one.

    Args:
      limits: result of `JaxSide.limits`.
      seconds: of the call.
      images: forward passes of one image in the call, over all individuals.
      passes: 1, or 3 where gradients are computed too.
    """
    config = SupernetConfig()
    operations = 2 * passes * images * supernet_multiply_adds(config)
    moved = passes * images * traffic.forward_bytes(config, problem.SIDE)
    return {
        "share_of_arithmetic": operations / seconds / limits["operations_per_s"],
        "share_of_memory": moved / seconds / limits["bytes_per_s"],
    }


def write_problem(folder: pathlib.Path, individuals: int) -> None:
    """Draws a problem with torch's initial weights and writes it to a folder."""
    from benchmarks.torch_side import TorchSide

    drawn = problem.draw(SupernetConfig(), individuals)
    side = TorchSide(drawn, channels_last=False, threads=os.cpu_count())
    problem.save(drawn._replace(weights=side.weights()), folder)


def compile_search(folder: pathlib.Path) -> float:
    """Seconds until a new process has the programs of a search on CIFAR-10.

    Args:
      folder: holds the cache, which is cold at the first call and warm at the next.
    """
    worker = Worker("search", folder, {}, cache=str(folder / "search"))
    seconds = worker("compile")["seconds"]
    worker.close()
    return seconds


def compile_twice(folder: pathlib.Path) -> tuple[Worker, dict, dict]:
    """Compiles our programs in a process with a cold cache, then in another one.

    Returns:
      The second process, and the results of compiling with a cold and a warm cache.
    """

    def compiled() -> tuple[Worker, dict]:
        worker = Worker("jax", folder, HUGE_PAGES, cache=str(folder / "cache"))
        return worker, worker("compile")

    first, cold = compiled()
    first.close()
    second, warm = compiled()
    return second, cold, warm


def measure(size: Size) -> dict:
    """Measures all parts; returns the content of the JSON file."""
    individuals = size.individuals
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_problem(folder, individuals)
        ours, cold, warm = compile_twice(folder)
        compiled = {"cold_s": cold["seconds"], "warm_s": warm["seconds"]}
        if size.searches:
            compiled |= {
                name: compile_search(folder)
                for name in ("search_cold_s", "search_warm_s")
            }
        say(", ".join(f"{name} {seconds:.1f}" for name, seconds in compiled.items()))
        populations = compare_populations(folder, ours, size)
        limits = ours("limits")
        step, step_facts = compare_steps(folder, ours, size)
        ours.close()
    (running, facts), (batch, batch_facts) = populations.values()

    def row(compared, facts, images, passes=1):
        summary = compared.summary()
        shares = of_limits(limits, summary["ours_s"], images, passes)
        return summary | shares | facts

    images = individuals * problem.IMAGES
    return {
        "population": row(running, facts, images),
        "population_batch": row(batch, batch_facts, images),
        "weight_step": row(step, step_facts, problem.BATCH, traffic.STEP_PASSES),
        "epoch": epoch_of(step, running, batch, individuals).summary(),
        "memory": {
            "population_gb": max(warm["bytes"][name] for name in STATISTICS) / 1e9,
            "weight_step_gb": warm["bytes"]["weight_step"] / 1e9,
        },
        "compile": compiled,
        "limits": limits,
        "machine": machine(),
    }


def machine() -> dict:
    """Hardware and versions that the results depend on."""
    import jax
    import torch

    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def report(result: dict) -> str:
    """Formats the result as a table."""
    rows = [
        "| part | torch s | ours s | ratio (smallest to largest) | of arithmetic "
        "| of memory |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("population", "population_batch", "weight_step", "epoch"):
        part = result[name]
        shares = [
            f"{100 * part[share]:.0f} %" if share in part else ""
            for share in ("share_of_arithmetic", "share_of_memory")
        ]
        rows.append(
            f"| {name} | {part['torch_s']:.2f} | {part['ours_s']:.2f} | "
            f"{ratio_text(part)} | {' | '.join(shares)} |"
        )
    compiled, memory = result["compile"], result["memory"]
    searches = (
        f"; those of a search in {compiled['search_cold_s']:.0f} s and "
        f"{compiled['search_warm_s']:.1f} s"
        if "search_cold_s" in compiled
        else ""
    )
    limits = result["limits"]
    rows += [
        "",
        f"Limits of these cores: {limits['operations_per_s'] / 1e9:.0f} GFLOP/s in "
        f"matrix products, {limits['bytes_per_s'] / 1e9:.0f} GB/s in copies.",
        f"These programs compile in {compiled['cold_s']:.0f} s, or load from the "
        f"cache in {compiled['warm_s']:.1f} s{searches}. Memory: population "
        f"{memory['population_gb']:.2f} GB, weight step "
        f"{memory['weight_step_gb']:.2f} GB.",
    ]
    return "\n".join(rows)


def main() -> None:
    size, json_file = sized_command(__doc__, "4 individuals, 3 pairs", QUICK, FULL)
    publish(measure(size), report, json_file)


if __name__ == "__main__":
    main()
