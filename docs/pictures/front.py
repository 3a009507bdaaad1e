"""Draws the picture of the front page: a population being evaluated, and a found cell.

    python docs/pictures/front.py --out docs/pictures/front.svg

The script searches a cell for scikit-learn's digits with the preset `digits`. Then
CMA-ES evolves individuals around the alpha that the search ended with. The weights stay
as they are, and each generation is evaluated by one call. The upper half shows the
fitness of all individuals, the lower half the normal cell of the search. Two minutes.
"""

import argparse
import pathlib
import re
from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import egnas_jax as eg
from egnas_jax.plotting import BLUE, ORANGE
from egnas_jax.storage.records import write_text

POPULATION, GENERATIONS = 50, 8
WIDTH, PLOT_HEIGHT = 660, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 46, 40  # margins of the plot, pixels
FOUND = "The normal cell that the search found"
INK = "#222222"  # as the drawing of the cell has it

# The drawing of a cell is black on white. A browser that prefers a dark scheme turns
# these two colours round, and the grey of the lines as well.
HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" \
height="HEIGHT" viewBox="0 0 {WIDTH} HEIGHT" \
font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="13">
<title>A population being evaluated, and a found cell</title>
<style>@media (prefers-color-scheme: dark) {{
[fill="white"] {{ fill: #131416 }} [fill="{INK}"] {{ fill: #e0e0e0 }}
[stroke="{INK}"] {{ stroke: #e0e0e0 }} [stroke="#555555"] {{ stroke: #a8a8a8 }}
[fill="#555555"] {{ fill: #a8a8a8 }} [fill="{BLUE}"] {{ fill: #56b4e9 }}
[stroke="{BLUE}"] {{ stroke: #56b4e9 }} }}</style>
<rect width="100%" height="100%" fill="white"/>
"""


class Evaluated(NamedTuple):
    """Generations of one population.

    Attributes:
      fitness: of every individual, f32[T, P]; lower is better.
      num_images: on which each of them was evaluated.
    """

    fitness: np.ndarray
    num_images: int


def evolve(result, data) -> Evaluated:
    """Evolves individuals around the alpha of a finished search, and evaluates them.

    Args:
      result: a `SearchResult` of EG-NAS.
      data: the `SearchData` of that search. Individuals are evaluated on all its
        validation images.
    """
    batch = data.valid_batch()
    options = eg.EGNASConfig()
    centre, _ = ravel_pytree(result.alpha)
    strategy = eg.evolution.cma_es(centre.size, POPULATION)

    @jax.jit
    def generation(key, state):
        z = strategy.ask(key, state)
        population = eg.evaluate_fitness(
            result.net,
            result.variables,
            result.alpha,
            z,
            batch.images,
            batch.labels,
            options,
        )
        return strategy.tell(state, z, population.fitness), population.fitness

    state, fitness = strategy.init(centre, options.sigma_start), []
    for key in jax.random.split(jax.random.key(0), GENERATIONS):
        state, values = generation(key, state)
        fitness.append(np.asarray(values))
    return Evaluated(np.stack(fitness), len(batch.labels))


def plot(evaluated: Evaluated) -> str:
    """The fitness of every individual by generation, as the parts of an SVG."""
    fitness = evaluated.fitness
    low, high = np.floor(fitness.min() * 5) / 5, np.ceil(fitness.max() * 5) / 5
    bottom, right = PLOT_HEIGHT - BOTTOM, WIDTH - RIGHT

    def y(value):
        return bottom - (value - low) / (high - low) * (bottom - TOP)

    step = (right - LEFT) / len(fitness)
    parts = [
        _text(16, 22, _heading(evaluated), weight="bold", size=14),
        _text((LEFT + right) / 2, PLOT_HEIGHT - 8, "generation", anchor="middle"),
        f'<text transform="translate(16,{(TOP + bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle" fill="{INK}">fitness (lower is better)</text>\n',
    ]
    for value in np.arange(low, high + 0.01, 0.2):
        parts.append(_line(LEFT, y(value), right, y(value), opacity=0.15))
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value:.1f}", anchor="end"))
    best = []
    for number, row in enumerate(fitness):
        x = LEFT + (number + 0.5) * step
        parts.append(_text(x, bottom + 17, str(number + 1), anchor="middle"))
        # individuals stand side by side in the order of their numbers
        xs = x + step * 0.7 * (np.arange(len(row)) / (len(row) - 1) - 0.5)
        parts += [_dot(a, y(value), BLUE, 3) for a, value in zip(xs, row, strict=True)]
        best.append((xs[row.argmin()], y(row.min())))
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in best)
    style = f'fill="none" stroke="{ORANGE}" stroke-width="1.5"'
    parts.append(f'<polyline points="{path}" {style}/>\n')
    parts += [_dot(a, b, ORANGE, 4, opacity=1) for a, b in best]
    return "".join(parts)


def _heading(evaluated):
    count, size = evaluated.fitness.shape
    return (
        f"{count} generations of {size} architectures under the same weights, "
        f"{evaluated.num_images} images each"
    )


def _text(x, y, text, *, anchor="start", weight="normal", size=12):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" '
        f'font-weight="{weight}" font-size="{size}">{text}</text>\n'
    )


def _line(x1, y1, x2, y2, opacity):
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{INK}" stroke-opacity="{opacity}"/>\n'
    )


def _dot(x, y, colour, radius, opacity=0.5):
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" '
        f'fill-opacity="{opacity}"/>\n'
    )


class Cell(NamedTuple):
    """A drawing of one cell.

    Attributes:
      body: the parts of an SVG.
      width, height: pixels.
    """

    body: str
    width: float
    height: float


def first_cell(genotype) -> Cell:
    """The drawing of a genotype without the cells below the first one."""
    drawing = eg.draw_svg(genotype)
    headings = [
        m.start() for m in re.finditer(r'<text [^>]*font-weight="bold"', drawing)
    ]
    end = headings[1] if len(headings) > 1 else drawing.rindex("</svg>")
    body = drawing[drawing.index("</text>", headings[0]) + len("</text>") : end]
    boxes = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', body
    )
    corners = [(float(x) + float(w), float(y) + float(h)) for x, y, w, h in boxes]
    right, bottom = (max(side) + 16 for side in zip(*corners, strict=True))
    return Cell(body, right, bottom)


def picture(evaluated: Evaluated, genotype) -> str:
    """The whole picture as an SVG document."""
    cell = first_cell(genotype)
    scale = min(1.0, WIDTH / cell.width)
    height = f"{PLOT_HEIGHT + scale * cell.height:.0f}"
    move = f"translate({(WIDTH - scale * cell.width) / 2:.1f},{PLOT_HEIGHT})"
    font = (
        'text-anchor="middle" font-size="12" font-family="DejaVu Sans Mono, monospace"'
    )
    heading = _text(16, PLOT_HEIGHT + 28, FOUND, weight="bold", size=14)
    drawing = f'<g transform="{move} scale({scale:.3f})" {font}>\n{cell.body}</g>\n'
    parts = [HEAD.replace("HEIGHT", height), plot(evaluated), heading, drawing]
    return "".join(parts) + "</svg>\n"


def main() -> None:
    """Searches, evaluates and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, metavar="FILE.svg")
    out = pathlib.Path(parser.parse_args().out)
    config = eg.search_config("digits")
    result = eg.run_search(config)
    write_text(out, picture(evolve(result, eg.search_data(config)), result.genotype))


if __name__ == "__main__":
    main()
