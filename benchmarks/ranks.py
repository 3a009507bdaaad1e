"""Measures how far bfloat16 changes the order of individuals, by Kendall's tau.

python -m benchmarks.ranks [--data-dir DIR] [--steps N] [--json FILE]

Trains a supernet for some steps in float32, then evaluates the same populations in
float32 and in bfloat16, as EG-NAS does, with individuals far from alpha and near it.
For comparison it prints tau between two batches of images, both in float32: how much
the choice of images changes the order anyway.

Dims: P individuals, D = 2 E K.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.epoch import Plan, make_run
from benchmarks.timing import say
from egnas_jax.data.augment import normalise
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import make_supernet
from egnas_jax.search.relax import flatten
from egnas_jax.search.search_run import beginning
from egnas_jax.search.state import zero_totals
from egnas_jax.space import SPACES
from egnas_jax.strategies.egnas.evaluation import evaluate_fitness

SIGMAS = (1.0, 0.1, 0.02)  # at the start, in the middle and at the end of a search


class Agreement(NamedTuple):
    """Agreement of two orders of one population.

    Attributes:
      tau_loss, tau_fitness: Kendall's tau of the losses and of the fitnesses.
      winner_rank: rank, from 0, of the second order's best individual in the first.
    """

    tau_loss: float
    tau_fitness: float
    winner_rank: int


def agreement(first, second) -> Agreement:
    """Compares two `EvaluatedPopulation`s on the host."""
    rank = int(np.sum(first.fitness < first.fitness[second.winner]))
    return Agreement(
        kendall(first.cross_entropy, second.cross_entropy),
        kendall(first.fitness, second.fitness),
        rank,
    )


def kendall(a, b) -> float:
    """Tau-b of two lists: 1 for the same order, 0 for unrelated ones, -1 reversed."""
    from scipy.stats import kendalltau

    return float(kendalltau(np.asarray(a), np.asarray(b)).statistic)


def trained(plan: Plan, images, labels, steps: int):
    """Returns the run and its state after a number of weight steps."""
    run = make_run(plan, images, labels)
    state = beginning(run).state
    for start in range(0, steps, run.num_steps):
        count = min(run.num_steps, steps - start)
        span = jnp.int32(0), jnp.int32(count)
        state, totals = run.programs.train(run.hyperparams, state, span)
        loss = float(totals.loss) / int(totals.images)
        say(f"{start + count} steps: loss {loss:.3f}")
        # the next epoch's order and augmentation
        state = state.replace(
            epoch=state.epoch + 1,
            step=jnp.zeros_like(state.step),
            totals=zero_totals(),
        )
    return run, state


def compare(plan: Plan, state, images, labels, sigmas=SIGMAS) -> list[dict]:
    """Compares the orders of individuals for each spread of the population.

    Args:
      plan: of the run; its strategy says how individuals are evaluated.
      state: of the run.
      images, labels: at least two fitness batches on the host, not used in training.
      sigmas: spreads of the individuals around alpha.
    """
    method, space = plan.strategy, SPACES[plan.supernet.space]
    size = method.valid_batch_size
    batches = [
        (
            normalise(jnp.asarray(images[part]), *plan.scale),
            jnp.asarray(labels[part], jnp.int32),
        )
        for part in (slice(0, size), slice(size, 2 * size))
    ]

    def evaluation(dtype):
        net = make_supernet(dataclasses.replace(plan.supernet, dtype=dtype))
        return jax.jit(
            lambda variables, alpha, z, images, labels: evaluate_fitness(
                net, variables, alpha, z, images, labels, method
            ),
            compiler_options=lowering.compiler_options(),
        )

    exact, short = evaluation("float32"), evaluation("bfloat16")
    alpha, lines = state.strategy.alpha, []
    for index, sigma in enumerate(sigmas):
        noise = jax.random.normal(
            jax.random.fold_in(jax.random.key(7), index),
            (method.population, space.dim),
        )
        z = flatten(space, alpha)[None] + sigma * noise
        say(f"sigma {sigma}: {method.population} individuals")
        first, other, rounded = (
            jax.device_get(run(state.variables, alpha, z, *batch))
            for run, batch in (
                (exact, batches[0]),
                (exact, batches[1]),
                (short, batches[0]),
            )
        )
        difference = np.abs(first.cross_entropy - rounded.cross_entropy)
        lines.append(
            {
                "sigma": sigma,
                "bfloat16": agreement(first, rounded)._asdict(),
                "other_images": agreement(first, other)._asdict(),
                "loss_spread": float(np.std(first.cross_entropy)),
                "loss_difference": float(np.mean(difference)),
            }
        )
        say(json.dumps(lines[-1]))
    return lines


def table(lines: list[dict]) -> str:
    """The lines as a Markdown table."""
    rows = [
        "| sigma | tau of the loss: bfloat16, other images | tau of the fitness: "
        "bfloat16, other images | rank of bfloat16's best | spread of losses, mean "
        "change |",
        "|---|---|---|---|---|",
    ]
    for line in lines:
        short, other = line["bfloat16"], line["other_images"]
        rows.append(
            f"| {line['sigma']} | {short['tau_loss']:.3f}, {other['tau_loss']:.3f} | "
            f"{short['tau_fitness']:.3f}, {other['tau_fitness']:.3f} | "
            f"{short['winner_rank']} | {line['loss_spread']:.2g}, "
            f"{line['loss_difference']:.2g} |"
        )
    return "\n".join(rows)


def main() -> None:
    from benchmarks import epoch, images

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="of CIFAR-10; none: synthetic images")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    plan = dataclasses.replace(epoch.FULL, batch_size=options.batch_size)
    pixels, labels, _ = images.cifar10_or_synthetic(
        2 * plan.images, plan.side, options.data_dir
    )
    run, state = trained(plan, pixels, labels, options.steps)
    lines = compare(plan, state, pixels[plan.images :], labels[plan.images :])
    print(table(lines))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
