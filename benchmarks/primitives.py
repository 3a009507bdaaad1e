"""Times every implementation of every primitive, for the table of `nn.lowering`.

python -m benchmarks.primitives [--quick] [--json FILE]

Runs on JAX's default backend, which should be idle. benchmarks/README.md explains the
numbers and holds those of one machine.

Dims: S edges that leave one state, C channels, H, W sides, N images.
"""

import functools
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.command import publish, sized_command
from benchmarks.timing import say
from egnas_jax.nn import lowering
from egnas_jax.nn.init import is_leaf
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import PRIMITIVES, kernel_of
from egnas_jax.space import SPACES
from egnas_jax.types import Array, PyTree

# mode -> (whether batch statistics are used, whether the gradient is computed)
PROGRAMS = {
    "eval": (False, False),
    "train": (True, False),
    "gradient": (True, True),
}


class Size(NamedTuple):
    """Which primitives are timed, and for how long.

    Attributes:
      primitives: their names.
      strides: of the edges.
      shape: (S, C, H, W, N), as in the first cell of the default supernet.
      seconds: for the calls of one program; there are at least three.
    """

    primitives: tuple[str, ...]
    strides: tuple[int, ...]
    shape: tuple[int, int, int, int, int]
    seconds: float


QUICK = Size(SPACES["darts7"].primitives, (1,), (4, 4, 32, 32, 32), 0.2)
FULL = Size(
    tuple(name for name in PRIMITIVES if name != "none"),
    (1, 2),
    (4, 4, 32, 32, 64),
    1.0,
)


class Problem(NamedTuple):
    """One primitive on the edges that leave a state.

    Attributes:
      name, stride: of the primitive.
      params, stats: its weights and running statistics.
      state: [C, H, W, N].
    """

    name: str
    stride: int
    params: PyTree
    stats: PyTree
    state: Array


def make_problem(name: str, stride: int, shape: tuple[int, ...]) -> Problem:
    """Draws a primitive with different weights per edge, and a normal state."""
    edges, channels, *pixels = shape
    rng = np.random.default_rng(0)

    def drawn(described, low):
        def draw(leaf):
            return jnp.asarray(rng.uniform(low, 1.0, leaf.shape), jnp.float32)

        return jax.tree.map(draw, described, is_leaf=is_leaf)

    params, stats = kernel_of(name).init(edges, channels, stride, False)
    state = jnp.asarray(rng.normal(size=(channels, *pixels)), jnp.float32)
    return Problem(name, stride, drawn(params, -1.0), drawn(stats, 0.5), state)


def make_program(problem: Problem, way: str, train: bool, gradient: bool):
    """The primitive as a function of (params, stats, state).

    The function returns the outputs of all edges, or the gradients of a weighted sum of
    them.
    """
    kernels = lowering.LOWERINGS[way]

    def outputs(params, stats, state):
        out, _ = kernel_of(problem.name).apply(
            params,
            stats,
            source_of(state[None]),
            stride=problem.stride,
            train=train,
            kernels=kernels,
        )
        return lowering.materialise(out.value())

    def total(params, stats, state):
        out = outputs(params, stats, state)
        weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        return jnp.sum(weights * out)

    return jax.grad(total, argnums=(0, 2)) if gradient else outputs


def compile_ways(problem: Problem, train: bool, gradient: bool) -> dict:
    """Implementation -> compiled program; equal programs appear once."""
    programs, seen = {}, set()
    for way in lowering.LOWERINGS:
        run = make_program(problem, way, train, gradient)
        lowered = jax.jit(run, compiler_options=lowering.compiler_options()).lower(
            *problem[2:]
        )
        text = lowered.as_text()
        if text not in seen:
            seen.add(text)
            programs[way] = lowered.compile()
    return programs


def check_equal(results: dict[str, PyTree], what: str) -> None:
    """Checks that all implementations compute the same.

    Raises:
      SystemExit: one differs from the first by more than 1e-3 of the largest value,
        which allows for GPU convolutions that round to ten bits.
    """
    first, *_ = results.values()

    def difference(a, b):
        return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)

    for way, result in results.items():
        worst = max(jax.tree.leaves(jax.tree.map(difference, result, first)), default=0)
        if not worst < 1e-3:
            raise SystemExit(f"{what}: {way} differs by {worst:.1e}; nothing is timed.")


def time_calls(run, seconds: float) -> list[float]:
    """Milliseconds of single calls, at least three, for about `seconds`."""
    taken = []
    while len(taken) < 3 or (sum(taken) < 1e3 * seconds and len(taken) < 99):
        started = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def measure(size: Size) -> dict:
    """Times all primitives; returns the content of the JSON file."""
    rows = []
    for name in size.primitives:
        for stride in size.strides:
            problem = make_problem(name, stride, size.shape)
            for mode, (train, gradient) in PROGRAMS.items():
                rows += _measure_program(problem, mode, train, gradient, size.seconds)
    return {
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "shape": size.shape,
        "rows": rows,
    }


def _measure_program(problem, mode, train, gradient, seconds):
    what = f"{problem.name}, stride {problem.stride}, {mode}"
    programs = compile_ways(problem, train, gradient)
    runs = {
        way: functools.partial(program, *problem[2:])
        for way, program in programs.items()
    }
    # These first calls are not timed.
    check_equal({way: jax.device_get(run()) for way, run in runs.items()}, what)
    rows = []
    for way, run in runs.items():
        taken = time_calls(run, seconds)
        rows.append(
            {
                "primitive": problem.name,
                "stride": problem.stride,
                "mode": mode,
                "implementation": way,
                "median_ms": statistics.median(taken),
                "min_ms": min(taken),
                "max_ms": max(taken),
                "calls": len(taken),
            }
        )
    cells = (_cell(row, row["implementation"]) for row in rows)
    say(f"{what}: {', '.join(cells)}")
    return rows


def _cell(row: dict | None, name: str = "") -> str:
    if row is None:
        return ""
    spread = f"({row['min_ms']:.2f} to {row['max_ms']:.2f})"
    return f"{name} {row['median_ms']:.2f} {spread}".strip()


def report(result: dict) -> str:
    """Formats the result as a table, with a column for each implementation.

    A cell is empty where an implementation gives the same program as an earlier one.
    """
    ways = list(lowering.LOWERINGS)
    lines = [
        f"{result['backend']} ({result['device']}), jax {result['jax']}, "
        f"{result['date']}; [S, C, H, W, N] = {list(result['shape'])}; milliseconds, "
        f"median (least to most).",
        "",
        f"| primitive | stride | mode | {' | '.join(ways)} |",
        "|---|---|---|" + "---|" * len(ways),
    ]
    table = {}
    for row in result["rows"]:
        key = row["primitive"], row["stride"], row["mode"]
        table.setdefault(key, {})[row["implementation"]] = row
    for (name, stride, mode), by_way in table.items():
        cells = " | ".join(_cell(by_way.get(way)) for way in ways)
        lines.append(f"| {name} | {stride} | {mode} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    quick = "the primitives of darts7 at stride 1, on fewer images"
    size, json_file = sized_command(__doc__, quick, QUICK, FULL)
    publish(measure(size), report, json_file)


if __name__ == "__main__":
    main()
