"""Times how long DARTS compiles in each order: `python -m benchmarks.second_order`.

The forms of the second order are compared with the first order of the same turn, by the
processor seconds that an epoch takes to trace and to compile. Processor seconds of all
threads depend less on what else the machine does than seconds. The exact form may take
at most three times the first order's.
"""

import statistics
import time
from typing import NamedTuple

import jax

import egnas_jax as eg
from benchmarks.command import publish, sized_command
from benchmarks.timing import ratio_text, say, summary_of

FIRST = "off"
LARGEST_RATIO = 3.0  # of the exact form, by the project's own requirement


class Size(NamedTuple):
    """What is measured.

    Attributes:
      forms: values of `strategy.second_order`; the first is the first order.
      rounds: turns of all of them.
      settings: of every search, beside the preset digits.
    """

    forms: tuple[str, ...]
    rounds: int
    settings: dict


QUICK = Size((FIRST, "exact"), 1, {"supernet.layers": 2, "supernet.channels": 4})
FULL = Size((FIRST, "exact", "finite_difference"), 3, {})


def compile_seconds(size: Size, form: str) -> float:
    """Processor seconds in which an epoch is traced and compiled."""
    config = eg.search_config(
        "digits",
        strategy="darts",
        settings={**size.settings, "strategy.second_order": form},
    )
    data = eg.search_data(config)
    image_shape = data.train.images.shape[1:]
    search = eg.make_search(config, image_shape=image_shape, num_classes=10)
    state = jax.eval_shape(search.init, jax.random.key(0), search.hyperparams)
    jax.clear_caches()  # what an earlier turn has traced
    epoch = jax.jit(search.epoch, compiler_options=search.compiler_options)
    started = time.process_time()
    epoch.lower(state, data, search.hyperparams).compile()
    return time.process_time() - started


def measure(size: Size) -> dict:
    """Measures all forms alternately.

    Returns:
      "rows": form -> "compile_s" (median over rounds), and "ratio", "ratio_min",
      "ratio_max" to the first order.
    """
    rounds = []
    for number in range(size.rounds):
        rounds.append({form: compile_seconds(size, form) for form in size.forms})
        line = ", ".join(f"{form}: {s:.0f} s" for form, s in rounds[-1].items())
        say(f"round {number}: {line}")
    rows = {}
    for form in size.forms:
        ratios = [turn[form] / turn[size.forms[0]] for turn in rounds]
        rows[form] = {
            "compile_s": statistics.median(turn[form] for turn in rounds),
            **summary_of(ratios),
        }
    return {"rows": rows, "rounds": size.rounds}


def report(result: dict) -> str:
    """The result as a table, and whether the exact form keeps its bound."""
    lines = [
        "| second order | processor seconds to compile | against the first (range) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {form} | {row['compile_s']:.0f} | {ratio_text(row)} |"
        for form, row in result["rows"].items()
    ]
    keeps = result["rows"]["exact"]["ratio"] <= LARGEST_RATIO
    verdict = "keeps" if keeps else "exceeds"
    return "\n".join([*lines, f"The exact form {verdict} {LARGEST_RATIO:g} times."])


def main() -> None:
    """Runs the command."""
    size, file = sized_command(__doc__, "two forms of a small net", QUICK, FULL)
    # A program of the cache would take no time.
    jax.config.update("jax_enable_compilation_cache", False)
    publish(measure(size), report, file)


if __name__ == "__main__":
    main()
