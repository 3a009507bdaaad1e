"""Prints and draws genotypes: the commands `egnas derive` and `egnas draw`."""

import argparse
import pathlib

from egnas_jax.cli.console import read_genotype


def derive_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas derive`."""
    add = parser.add_argument
    add("run", metavar="RUN")
    text = "of the Pareto front in RUN/front.json: knee, or its number there"
    add("--point", metavar="knee|N", help=text)


def derive(options: argparse.Namespace) -> None:
    """Prints the genotype of a run, or of a point of its Pareto front."""
    if options.point is not None:
        from egnas_jax.runs.front import read_point

        print(read_point(pathlib.Path(options.run), options.point))
        return
    print(read_genotype(options.run).format())


def draw_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas draw`."""
    add = parser.add_argument
    add("genotype", metavar="GENOTYPE", help="zoo name, text, file, run")
    add("--out", required=True, metavar="FILE.svg")


def draw(options: argparse.Namespace) -> None:
    """Draws a genotype as an SVG file."""
    from egnas_jax.runs.genotype_source import caption_of_source
    from egnas_jax.space import draw_svg
    from egnas_jax.storage import records

    genotype = read_genotype(options.genotype)
    svg = draw_svg(genotype, caption_of_source(options.genotype))
    if not options.out.endswith(".svg"):
        raise ValueError(f"--out is {options.out!r}, but must end in .svg.")
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    records.write_text(out, svg)
