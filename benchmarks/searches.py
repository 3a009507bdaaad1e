"""Times K searches as one program against one search: `python -m benchmarks.searches`.

Every K is searched with in turns, so that other load of the machine affects all alike.
The first epoch, in which programs compile, is left out. The time of an epoch of K
searches is compared with K times that of one in the same round.

Dims: K searches.
"""

import statistics
from typing import NamedTuple

import egnas_jax as eg
from benchmarks.command import publish, sized_command
from benchmarks.timing import ratio_text, say, summary_of


class Size(NamedTuple):
    """What is measured.

    Attributes:
      counts: numbers of searches; the first is 1.
      rounds: turns of all of them.
      epochs: of a turn, the first of which is not counted.
      settings: of every search, beside the preset digits.
    """

    counts: tuple[int, ...]
    rounds: int
    epochs: int
    settings: dict


QUICK = Size((1, 2), 1, 2, {"supernet.layers": 2, "supernet.channels": 4})
FULL = Size((1, 2, 4, 8, 16), 3, 4, {})


def epoch_seconds(size: Size, count: int) -> float:
    """Median seconds of an epoch of K searches that run as one program."""
    seconds = [0.0] * size.epochs

    def add(index: int, record: dict) -> None:
        seconds[record["epoch"]] += record["seconds"]  # its share, where K run

    settings = {"epochs": size.epochs, "strategy.warmup": 0, **size.settings}
    configs = [
        eg.search_config("digits", settings={**settings, "seed": seed})
        for seed in range(count)
    ]
    eg.run_searches(configs, batched=count, on_epoch=add)
    return statistics.median(seconds[1:])


def measure(size: Size) -> dict:
    """Measures all K alternately.

    Returns:
      "rows": K -> "epoch_s" (median over rounds), and "ratio", "ratio_min",
      "ratio_max" of the epoch of K searches to K epochs of one.
    """
    rounds = []
    for number in range(size.rounds):
        rounds.append({count: epoch_seconds(size, count) for count in size.counts})
        line = ", ".join(f"{count}: {s:.2f} s" for count, s in rounds[-1].items())
        say(f"round {number}: {line}")
    rows = {}
    for count in size.counts:
        ratios = [turn[count] / (count * turn[size.counts[0]]) for turn in rounds]
        rows[count] = {
            "epoch_s": statistics.median(turn[count] for turn in rounds),
            **summary_of(ratios),
        }
    return {"rows": rows, "rounds": size.rounds, "epochs": size.epochs - 1}


def report(result: dict) -> str:
    """The result as a table."""
    lines = [
        "| searches | epoch (s) | against as many alone (range) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {count} | {row['epoch_s']:.2f} | {ratio_text(row)} |"
        for count, row in result["rows"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs the command."""
    size, file = sized_command(__doc__, "two searches of a small net", QUICK, FULL)
    publish(measure(size), report, file)


if __name__ == "__main__":
    main()
