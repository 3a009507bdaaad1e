"""Compiles our programs for a GPU without having one, and predicts their speed.

python -m benchmarks.deviceless [PROGRAM...] [--card h100] [--size small] [--json FILE]

Needs the extra bench-gpu. What is read off the compiled program is exact: kernels,
launches, bytes, memory. Milliseconds are predictions by a roofline (roofline.py).
"""

import argparse
import json
import pathlib
import sys

import jax

from benchmarks import rows
from benchmarks.deviceless import predict, report
from benchmarks.deviceless.cards import CARDS, card_named
from benchmarks.deviceless.compile import (
    INSTALL,
    as_if_on,
    compile_for,
    device_of,
    is_installed,
    prepare,
)
from benchmarks.deviceless.programs import PROGRAMS
from benchmarks.deviceless.registers import registers_of
from benchmarks.deviceless.results import load_programs
from benchmarks.deviceless.roofline import rates_of
from benchmarks.deviceless.sizes import SIZES, with_lowering
from benchmarks.timing import say
from egnas_jax.nn import lowering

NOT_INSTALLED = f"The CUDA compiler is missing: install the extra by {INSTALL}"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parses the command line; exits with 2 where it is not usable."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deviceless", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "programs",
        nargs="*",
        metavar="PROGRAM",
        help=f"of {', '.join(PROGRAMS)}; without one, all are compiled",
    )
    parser.add_argument("--card", choices=CARDS, default="h100")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument(
        "--precision",
        choices=rows.PRECISIONS,
        nargs="+",
        default=["float32", "bfloat16"],
        metavar="NAME",
        help=f"of {', '.join(rows.PRECISIONS)}",
    )
    parser.add_argument("--lowering", choices=lowering.CHOICES, default="auto")
    parser.add_argument(
        "--kernels", type=int, default=0, metavar="N", help="list the N slowest"
    )
    parser.add_argument(
        "--hlo", type=pathlib.Path, metavar="DIR", help="write optimised HLO there"
    )
    parser.add_argument(
        "--ptx",
        type=pathlib.Path,
        metavar="DIR",
        help="let XLA write its files there, and list the registers of Pallas kernels",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument(
        "--against", type=pathlib.Path, metavar="FILE", help="an earlier --json"
    )
    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def _check(parser, options):
    """Refuses names and files before anything is compiled; reads the earlier file."""
    for name in options.programs:
        if name not in PROGRAMS:
            parser.error(f"unknown program {name!r}; known are {', '.join(PROGRAMS)}")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist")
    if options.ptx and options.ptx.exists() and any(options.ptx.iterdir()):
        parser.error(f"--ptx {options.ptx}: it is not empty; name another folder")
    options.earlier = {}
    if options.against:
        try:
            options.earlier = load_programs(options.against, options.card, options.size)
        except ValueError as error:
            parser.error(f"--against: {error}")


def run(options: argparse.Namespace) -> dict:
    """Compiles what the options name, and reports each program when it is done."""
    card = card_named(options.card)
    settings = {"card": options.card, "size": options.size, "jax": jax.__version__}
    settings["lowering"] = options.lowering
    results = {"settings": settings, "programs": {}}
    device = device_of(card)
    with as_if_on(card):
        size = with_lowering(SIZES[options.size](), options.lowering)
        for precision in options.precision:
            for program in options.programs or PROGRAMS:
                name = f"{program} {precision}"
                row = _predict(options, device, size, (program, precision))
                results["programs"][name] = row
                print(report.describe(name, row, options.kernels))
                if name in options.earlier:
                    print("  " + report.compare(name, row, options.earlier[name]))
                print(flush=True)
                if options.ptx:
                    results["registers"] = _list_registers(options.ptx, card)
                if options.json:  # what is done stays if a later program fails
                    options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _list_registers(folder, card) -> list[dict]:
    """Prints and returns what the Pallas kernels compiled so far take."""
    rows_of_kernels = [row._asdict() for row in registers_of(folder, card)]
    for row in rows_of_kernels:
        numbers = ", ".join(f"{name} {value}" for name, value in row.items())
        print(f"  {numbers}")
    return rows_of_kernels


def _predict(options, device, size, what) -> dict:
    """Compiles one program; `what` is its name and the precision."""
    program, precision = what
    say(f"compiling {program} in {precision} for {options.card}")
    request = PROGRAMS[program](size, precision)
    _, matmul = rows.PRECISIONS[precision]
    files = options.ptx and options.ptx / f"{program}_{precision}"
    compiled = compile_for(
        device, request.function, request.arguments, matmul, files=files
    )
    if options.hlo:
        options.hlo.mkdir(parents=True, exist_ok=True)
        (options.hlo / f"{program}_{precision}.txt").write_text(compiled.text)
    rates = rates_of(card_named(options.card))
    return predict.prediction(compiled, request, rates, precision)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = parse(arguments)
    if not is_installed():
        print(NOT_INSTALLED, file=sys.stderr)
        return 2
    prepare()
    run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
