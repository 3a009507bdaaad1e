"""Three properties of the published code that its formulas let one expect, measured.

1. Populations repeat: `official` draws from a key that never changes, so its samples
   and its epochs share their directions, which are counted as differences from the
   first of the 50 individuals: 49 a population.
2. The step is nearly uniform: s* = softmax(softmax(z / |z|)) hardly tells primitives
   apart, so alpha stays near where the initial noise put it.
3. The sign rule prefers worse individuals: one that is at least as accurate as alpha
   is pushed away by eta L2, one that is less accurate is pulled by as much.

The first two are arithmetic: winners are drawn at random, and no network is asked;
beside the second stand searches on images. The third prices a population on many
validation batches under the weights of their warm starts.

Command: python experiments/defects.py --size small --out OUT
"""

import argparse
import functools
import pathlib
import statistics
import time

import forks
import jax
import jax.numpy as jnp
import methods
import numpy as np

from egnas_jax.cli.console import say
from egnas_jax.plotting import BLUE, GREY, ORANGE, SKY, as_svg
from egnas_jax.runs.finished_search import load, valid_batches
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.config import VARIANTS, EGNASConfig
from egnas_jax.strategies.egnas.evaluation import direction, evaluate_fitness
from egnas_jax.strategies.egnas.explore import first_generation, initial_state
from egnas_jax.strategies.egnas.fitness import SIGNS, compound_fitness
from egnas_jax.studies.noise.matrix import over_batches
from egnas_jax.studies.report.curves import FigureData, Row
from egnas_jax.studies.report.page import Figure
from egnas_jax.studies.report.write import as_figure
from egnas_jax.studies.statistics import summarise

TITLE = "Three properties of the published code"
UPDATES, RUNS = 35, 100  # of a search of 50 epochs; searches that are simulated
SPACE = SPACES["darts7"]


def distinct_directions(variant: str) -> tuple[int, int]:
    """Distinct directions of z - z_0 in all populations of a search, and how many there
    are in all."""
    config = EGNASConfig.variant(variant)
    state = initial_state(SPACE, jax.random.key(0))

    def draw(s):
        now = state._replace(updates=s, epochs=s + config.warmup)
        z = first_generation(
            SPACE, config, jax.random.fold_in(jax.random.key(1), s), now
        )
        # differences within a population do not depend on its centre
        return (z[:, 1:] - z[:, :1]) / jnp.linalg.norm(
            z[:, 1:] - z[:, :1], axis=-1, keepdims=True
        )

    z = np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(UPDATES)))
    rows = z.reshape(-1, z.shape[-1]).round(3)
    return len(np.unique(rows, axis=0)), len(rows)


def random_walk(variant: str, updates: int = UPDATES) -> dict:
    """Alpha after so many updates whose winners are drawn at random, over many seeds.

    Returns:
      "smallest_share" and "largest_share" of softmax(alpha) in each of `RUNS` searches,
      "argmax_of_initial_noise": share of edges that kept theirs, in each;
      "largest_relative_step" of a logit in any of them.
    """
    config = EGNASConfig.variant(variant)

    def step(carry, s):
        state, key = carry
        key, key_draw, key_winner = jax.random.split(key, 3)
        now = state._replace(updates=s, epochs=s + config.warmup)
        z = first_generation(SPACE, config, key_draw, now)[0]
        winner = unflatten(SPACE, z[jax.random.randint(key_winner, (), 0, len(z))])
        s_star = direction(winner, state.alpha, config)
        alpha = jax.tree.map(lambda a, d: a + config.step * d, state.alpha, s_star)
        return (state._replace(alpha=alpha), key), flatten(SPACE, s_star)

    def search(key):
        key_init, key = jax.random.split(key)
        first = initial_state(SPACE, key_init)
        (last, _), steps = jax.lax.scan(step, (first, key), jnp.arange(updates))
        shares = flatten(SPACE, softmax_mixing(last.alpha).primitives)
        rows = (-1, len(SPACE.primitives))
        kept = [
            jnp.argmax(flatten(SPACE, one.alpha).reshape(rows), axis=-1)
            for one in (first, last)
        ]
        relative = steps.reshape(updates, *rows)
        relative = relative - relative.mean(axis=-1, keepdims=True)
        return (
            shares.min(),
            shares.max(),
            jnp.mean(kept[0] == kept[1]),
            config.step * jnp.abs(relative).max(),
        )

    found = jax.jit(jax.vmap(search))(jax.random.split(jax.random.key(2), RUNS))
    low, high, kept, moved = (np.asarray(one) for one in found)
    return {
        "smallest_share": low.tolist(),
        "largest_share": high.tolist(),
        "argmax_of_initial_noise": kept.tolist(),
        "largest_relative_step": float(moved.max()),
    }


def _priced(net, config, alpha, z, variables, batch):
    return evaluate_fitness(net, variables, alpha, z, *batch, config)


def of_variant(options: argparse.Namespace, variant: str) -> argparse.Namespace:
    """What the searches of a variant are told, whose folders lie in one of its own."""
    own = {"variant": variant, "out": options.out / variant}
    return argparse.Namespace(**{**vars(options), **own})


def real_walk(
    found: list[methods.Found], folder: pathlib.Path, data_dir: str | None
) -> dict:
    """Alpha at the end of searches on images, as `random_walk` has it.

    Args:
      found: the searches, in folders METHOD-SEED of `folder`.
      folder: of all of them.
      data_dir: where their images are.

    Returns:
      "updates" that each of them made, "smallest_share" and "largest_share" of each.
    """
    states = [
        load(folder / f"{one.method}-{one.seed}", data_dir, say).state.strategy
        for one in found
    ]
    shares = [
        flatten(SPACE, softmax_mixing(state.alpha).primitives) for state in states
    ]
    return {
        "updates": int(states[0].updates),
        "smallest_share": [float(one.min()) for one in shares],
        "largest_share": [float(one.max()) for one in shares],
    }


def _ends(walk: dict) -> tuple[float, float]:
    """Least and largest share of softmax(alpha), means over searches: extremes would
    lie the further apart the more searches there are."""
    return tuple(
        statistics.fmean(walk[end]) for end in ("smallest_share", "largest_share")
    )


def sign_rule(
    variant: str, folders: list[pathlib.Path], data_dir: str | None
) -> list[dict]:
    """Which individual wins by each sign rule, under the weights of warm starts."""
    rows = []
    for seed, folder in enumerate(folders):
        searched = load(folder, data_dir, say)
        config, net, state = searched.config.strategy, searched.net, searched.state
        size = config.fitness_batch_size
        images, labels = valid_batches(
            searched, searched.run.programs.num_valid // size, size, seed
        )
        z = first_generation(SPACE, config, jax.random.key(seed), state.strategy)[0]
        alpha = state.strategy.alpha
        on_all = over_batches(functools.partial(_priced, net, config))
        evaluated = on_all(alpha, z, state.variables, images, labels)
        everywhere = np.asarray(evaluated.correct).sum(axis=0) / labels.size
        current = np.asarray(evaluated.correct_current).sum() / labels.size
        for sign in SIGNS:
            fitness = jax.vmap(
                functools.partial(
                    compound_fitness, zeta=config.zeta, eta=config.eta, sign=sign
                )
            )
            f = np.asarray(
                fitness(
                    evaluated.cross_entropy,
                    evaluated.correct,
                    evaluated.similarity,
                    correct_current=evaluated.correct_current,
                )
            )
            winner = np.where(np.isnan(f), np.inf, f).argmin(axis=1)
            on_batch = np.take_along_axis(
                np.asarray(evaluated.correct), winner[:, None], axis=1
            )[:, 0] - np.asarray(evaluated.correct_current)
            rows.append(
                {
                    "variant": variant,
                    "seed": seed,
                    "sign": sign,
                    "explorations": len(winner),
                    "winner_less_accurate": float(np.mean(on_batch < 0)),
                    "gain_on_batch": float(np.mean(on_batch)) / size,
                    "gain_on_all": float(np.mean(everywhere[winner])) - float(current),
                    "mean_gain_of_population": float(everywhere.mean())
                    - float(current),
                }
            )
    return rows


def drawn(
    directions: dict[str, tuple[int, int]],
    walks: dict[str, dict[str, dict]],
    signs: list[dict],
) -> Figure:
    """A picture of the three properties, a panel each.

    Args:
      directions: of each variant, as `distinct_directions` has them.
      walks: kind of searches -> variant -> what `random_walk` or `real_walk` found.
      signs: of `sign_rule`.
    """
    from matplotlib.figure import Figure as Canvas  # no window system

    canvas = Canvas((12.0, 3.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3, width_ratios=(3, 3, 5))
    rows = []
    for place, (name, (distinct, total)) in enumerate(directions.items()):
        share = 100 * distinct / total
        left.bar(place, share, color=BLUE, width=0.6)
        left.annotate(
            f"{distinct:,} of\n{total:,}",
            (place, share),
            ha="center",
            va="bottom",
            fontsize=8,
        )
        rows.append(Row("distinct directions (%)", name, "", place, share))
        styles = ((-0.2, BLUE), (0.0, SKY), (0.2, ORANGE))
        for (kind, of_variants), (shift, colour) in zip(
            walks.items(), styles, strict=False
        ):
            ends = _ends(of_variants[name])
            middle.plot(
                [place + shift] * 2,
                ends,
                marker="_",
                markersize=9,
                lw=3,
                color=colour,
                label=None if place else kind,
            )
            rows += [
                Row(f"softmax(alpha), {kind}", name, end, place, value)
                for end, value in zip(("least", "largest"), ends, strict=True)
            ]
    for axis in (left, middle):
        axis.set_xticks(range(len(directions)), directions)
        axis.set_xlim(-0.6, len(directions) - 0.4)
    left.set_ylim(0, 125)
    left.set_yticks(range(0, 101, 25))
    left.set_ylabel("distinct directions (%)")
    middle.axhline(1 / len(SPACE.primitives), color=GREY, ls="--", lw=1)
    middle.set_ylabel("softmax(alpha)")
    middle.legend(
        fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1)
    )
    labels = list(dict.fromkeys((one["variant"], one["sign"]) for one in signs))
    for place, label in enumerate(labels):
        gains = [
            100 * one["gain_on_batch"]
            for one in signs
            if (one["variant"], one["sign"]) == label
        ]
        found = summarise(gains)
        right.plot([place] * len(gains), gains, "o", color=BLUE, alpha=0.5, ms=4)
        right.plot(place, found.mean, "D", color=ORANGE, ms=6)
        if found.low is not None:
            right.vlines(place, found.low, found.high, color=ORANGE, lw=2)
        rows += [
            Row(
                "winner minus alpha on its batch (points)",
                " ".join(label),
                f"seed {seed}",
                place,
                gain,
            )
            for seed, gain in enumerate(gains)
        ]
    right.axhline(0, color=GREY, ls="--", lw=1)
    ticks = [f"{sign} rule\n{variant}" for variant, sign in labels]
    right.set_xticks(range(len(labels)), ticks, fontsize=8)
    right.set_ylabel("winner minus alpha\non its batch (points)")
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    text = (
        "Left: of all directions of a search's populations. Middle: from the least to "
        "the largest share, means over searches; dashed: uniform. Right: sign rules; "
        "seeds, their mean and its 95 % interval; below 0 the winner is less accurate "
        "than alpha."
    )
    return as_figure(FigureData("defects", TITLE, text, {}, rows), as_svg(canvas))


def main(arguments: list[str] | None = None) -> None:
    options = forks.parser(__doc__, None).parse_args(arguments)
    own = {name: of_variant(options, name) for name in VARIANTS}
    found = {name: forks.run({"search": []}, one) for name, one in own.items()}
    searched = sum(map(forks.seconds, found.values()))
    started = time.perf_counter()
    rows, details = [], {}
    directions = {name: distinct_directions(name) for name in VARIANTS}
    walks = {name: random_walk(name) for name in VARIANTS}
    real = {
        name: real_walk(several, own[name].out, options.data_dir)
        for name, several in found.items()
    }
    updates = real["paper"]["updates"]
    kinds = {
        f"{UPDATES} simulated updates": walks,
        f"{updates} simulated updates": {
            name: random_walk(name, updates) for name in VARIANTS
        },
        f"{updates} updates on images": real,
    }
    for name, (distinct, total) in directions.items():
        walk = walks[name]
        rows.append(
            [
                name,
                "",
                f"{distinct:,} of {total:,}",
                *(
                    "{:.4f} to {:.4f}".format(*_ends(one[name]))
                    for one in kinds.values()
                ),
                methods.cell(walk["argmax_of_initial_noise"], 100),
                walk["largest_relative_step"],
                None,
                None,
                None,
            ]
        )
        details[name] = {kind: one[name] for kind, one in kinds.items()}
    signs = {
        name: sign_rule(name, forks.warm_starts(own[name]), options.data_dir)
        for name in ("official", "paper")
    }
    for name, evaluated in signs.items():
        for sign in SIGNS:
            several = [row for row in evaluated if row["sign"] == sign]
            cells = [
                methods.cell([row[part] for row in several], 100)
                for part in ("winner_less_accurate", "gain_on_batch", "gain_on_all")
            ]
            rows.append([name, sign, *[None] * 6, *cells])
        details[f"{name}, signs"] = evaluated
    columns = [
        "variant",
        "sign rule",
        "distinct directions of all drawn",
        *(f"softmax(alpha) after {kind}" for kind in kinds),
        methods.column("edges on the argmax of the initial noise (%)", 1),
        methods.column("largest relative move of a logit in an update", 4),
        methods.column("winner less accurate than alpha on its batch (%)", 0),
        "winner minus alpha on its batch (points)",
        "on all batches (points)",
    ]
    table = {
        "title": TITLE,
        "columns": columns,
        "rows": rows,
        "seconds": searched + time.perf_counter() - started,
        "claim": "Do populations repeat, are steps nearly uniform, and does the sign "
        "rule prefer individuals that are less accurate?",
        "note": f"Directions and steps: {RUNS} simulated searches whose winners are "
        f"drawn at random (chance for the argmax: 14.3 %). softmax(alpha): from the "
        f"least to the largest share, means over searches. Sign rules: a population on "
        f"every validation batch under the weights of warm starts. "
        f"{forks.images(options)}",
    }
    picture = drawn(
        directions, kinds, [one for several in signs.values() for one in several]
    )
    forks.write(options, "defects", table, details, picture=picture)


if __name__ == "__main__":
    main()
