"""EG-NAS: gradient descent on the weights, an evolution strategy on alpha.

Once an epoch (after warm-up) N populations are drawn around alpha, evolved for T
generations and priced by the compound fitness; alpha steps along the best individual.

Source: EG-NAS (Cai et al., AAAI 2024), Algorithm 1. Paper, report and reference code
differ; every difference is an option here, and `EGNASConfig.variant` names the sets.

Dims: N samples, T generations, P population, E edges, K primitives, D = 2 E K.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from egnas_jax.evolution import EVOLUTIONS
from egnas_jax.lookup import lookup
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.evaluate import STATISTICS, score_population
from egnas_jax.search.fitness import FLOOR, SIGNS, compound_fitness, similarity
from egnas_jax.search.relax import flatten, softmax_mixing, unflatten, unweighted
from egnas_jax.search.strategy import Regime, Strategy
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Key, Mixing, PyTree

CHOICES = {
    "order": ("weights_first", "strategy_first"),
    "learning_rate_epoch": ("current", "next"),
    "last_batch": ("drop", "keep"),
    "split": ("permutation", "file_order"),
    "batch_stats": STATISTICS,
    "centre": ("alpha", "softmax"),
    "centre_noise": ("per_sample", "shared"),
    "candidates": ("fresh", "constant", "run"),
    "sigma": ("by_update", "by_epoch", "constant"),
    "evolution": tuple(EVOLUTIONS),
    "priced": ("softmax", "normalised_softmax"),
    "similarity": ("raw", "normalised", "centred", "flattened"),
    "sign": SIGNS,
    "tie": ("first", "last"),
    "best_sample": ("fitness", "accuracy"),
    "direction": ("softmax_centred", "double_softmax", "z", "z_minus_alpha"),
}
LEAST = {
    "warmup": 0, "fitness_batch_size": 1, "fitness_batches": 1, "noise": 0.0,
    "sigma_start": 1e-6, "sigma_floor": 0.0, "population": 2, "generations": 1,
    "samples": 1, "zeta": 0.0, "eta": 0.0, "momentum": 0.0, "step": 0.0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EGNASConfig:
    """Every row of the table of variants; the defaults are the variant `paper`.

    Attributes:
      order, learning_rate_epoch, last_batch, split, augment_valid, alpha_in_clip: what
        is asked of the loop, see `search.strategy.Regime`.
      warmup: epochs before the first update of alpha.
      fitness_batch_size, fitness_batches: images of a fitness batch, and batches; with
        batch statistics each batch has its own.
      batch_stats: batch norm in fitness: "batch" or "running".
      centre: populations are drawn around "alpha" or its row-wise "softmax", plus
        `noise` times a normal draw, "per_sample" or "shared" (`centre_noise`).
      candidates: keys of the individuals: "fresh" for every epoch, sample and
        generation; "constant", the same directions always; "run", the same within a
        run (its seed).
      sigma: "by_update": max(sigma_start / (s + 1), sigma_floor) at the s-th update;
        "by_epoch": at epoch s; "constant": sigma_start.
      evolution, population, generations, samples: the evolution strategy, P, T, N.
      priced: the mixing of an individual: "softmax" of its rows, or of its rows divided
        by their norms.
      similarity: L2 between alpha and z "raw"; between softmax(alpha) and z with
        "normalised" rows; with row means removed ("centred"); or of the whole vectors
        ("flattened").
      zeta, eta, sign: of the compound fitness.
      tie: of equal individuals the "first" or the "last" wins.
      best_sample: least "fitness", or largest "accuracy" of softmax(q) (an accuracy of
        zero beats all: a defect of the reference).
      direction: s*, "softmax_centred" = softmax(z) - 1 / K; "double_softmax" =
        softmax(q); "z"; "z_minus_alpha".
      momentum, step: v <- momentum v + s*; alpha <- alpha + step v.

    Raises:
      ValueError: an unknown choice or a number out of its range.
    """

    order: str = "weights_first"
    learning_rate_epoch: str = "current"
    last_batch: str = "drop"
    split: str = "permutation"
    augment_valid: bool = False
    alpha_in_clip: bool = False
    warmup: int = 15
    fitness_batch_size: int = 128
    fitness_batches: int = 1
    batch_stats: str = "batch"
    centre: str = "alpha"
    centre_noise: str = "per_sample"
    noise: float = 0.01
    candidates: str = "fresh"
    sigma: str = "by_update"
    sigma_start: float = 1.0
    sigma_floor: float = 0.02
    evolution: str = "cma_es"
    population: int = 50
    generations: int = 3
    samples: int = 3
    priced: str = "softmax"
    similarity: str = "raw"
    zeta: float = 1.0
    eta: float = 0.4
    sign: str = "paper"
    tie: str = "first"
    best_sample: str = "fitness"
    direction: str = "softmax_centred"
    momentum: float = 0.0
    step: float = 0.1

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"strategy.{name} is {value!r}, but must be one of "
                    f"{', '.join(allowed)}."
                )
        for name, least in LEAST.items():
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ValueError(
                    f"strategy.{name} is {value}, but must be finite and at least "
                    f"{least}."
                )

    @classmethod
    def variant(cls, name: str) -> "EGNASConfig":
        """The options of "paper", "official" or "seed".

        Raises:
          ValueError: another name.
        """
        return cls(**lookup(VARIANTS, name, "variant"))

    @property
    def regime(self) -> Regime:
        """What this method asks of the loop."""
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(Regime)
            if hasattr(self, field.name)
        }
        images = self.fitness_batch_size * self.fitness_batches
        return Regime(**shared, valid_batch_size=images)


_OFFICIAL = dict(
    order="strategy_first",
    learning_rate_epoch="next",
    last_batch="keep",
    split="file_order",
    augment_valid=True,
    alpha_in_clip=True,
    batch_stats="running",
    centre="softmax",
    centre_noise="shared",
    candidates="constant",
    sigma="constant",
    generations=1,
    priced="normalised_softmax",
    similarity="normalised",
    tie="last",
    best_sample="accuracy",
    direction="double_softmax",
)
VARIANTS = {
    "paper": {},
    "official": _OFFICIAL,
    "seed": {**_OFFICIAL, "candidates": "run", "step": 0.6},
}
DEFAULT_SEEDS = {"paper": 0, "official": 2, "seed": 2}


class Priced(NamedTuple):
    """One population, priced.

    Attributes:
      cross_entropy: L1, f32[P].
      correct: i32[P].
      correct_current: of alpha itself, i32[].
      similarity: L2, f32[P].
      fitness: f32[P], lower is better.
      winner: index of the best, i32[].
      direction: s* of the winner, cell kind -> [E, K].
    """

    cross_entropy: Array
    correct: Array
    correct_current: Array
    similarity: Array
    fitness: Array
    winner: Array
    direction: dict[str, Array]


def price(
    net: Supernet,
    variables: PyTree,
    alpha: dict[str, Array],
    z: Array,
    images: Array,
    labels: Array,
    options: EGNASConfig,
) -> Priced:
    """One exploration of EG-NAS without its sampling.

    Args:
      net, variables: the supernet and its weights.
      alpha: cell kind -> [E, K].
      z: individuals, f32[P, D].
      images: f32[N, H, W, C], one fitness batch (or `fitness_batches` of them).
      labels: i32[N].
      options: how mixings, similarity, fitness, ties and direction are taken.
    """
    space = SPACES[net.config.space]
    rows = unflatten(space, z)
    mixings = jax.tree.map(
        lambda own, others: jnp.concatenate([own[None], others]),
        softmax_mixing(alpha),  # rides along, so the network is compiled once
        unweighted(candidate_rows(rows, options)),
    )
    scores = _score(net, variables, mixings, images, labels, options)
    closeness = jax.vmap(lambda row: _closeness(alpha, row, options))(rows)
    fitness = compound_fitness(
        scores.loss[1:],
        scores.correct[1:],
        closeness,
        correct_current=scores.correct[0],
        zeta=options.zeta,
        eta=options.eta,
        sign=options.sign,
    )
    winner = best(fitness, options.tie)
    chosen = jax.tree.map(lambda leaf: leaf[winner], rows)
    return Priced(
        scores.loss[1:],
        scores.correct[1:],
        scores.correct[0],
        closeness,
        fitness,
        winner,
        direction(chosen, alpha, options),
    )


def _score(net, variables, mixings, images, labels, options):
    """Means and counts over the fitness batches, each with statistics of its own."""
    batches = options.fitness_batches

    def split(leaf):
        return leaf.reshape(batches, -1, *leaf.shape[1:])

    def one(batch):
        return score_population(
            net,
            variables,
            mixings,
            *batch,
            population_chunk=None,
            image_chunk=None,
            batch_stats=options.batch_stats,
        )

    scores = lax.map(one, (split(images), split(labels)))
    total = jnp.sum(scores.correct, axis=0)
    return scores._replace(loss=jnp.mean(scores.loss, axis=0), correct=total)


def candidate_rows(rows: dict[str, Array], options: EGNASConfig) -> dict[str, Array]:
    """q: the weights under which an individual is priced, [..., E, K]."""
    normalised = options.priced == "normalised_softmax"
    return {
        kind: jax.nn.softmax(_unit(row) if normalised else row, axis=-1)
        for kind, row in rows.items()
    }


def _unit(row: Array) -> Array:
    norm = jnp.linalg.norm(row, axis=-1, keepdims=True)
    return row / jnp.maximum(norm, FLOOR)


def _closeness(alpha, z, options):
    """L2 of one individual, in the reading that the options name."""
    if options.similarity == "normalised":
        alpha = {kind: jax.nn.softmax(row, axis=-1) for kind, row in alpha.items()}
    elif options.similarity == "centred":
        alpha, z = jax.tree.map(
            lambda row: row - jnp.mean(row, axis=-1, keepdims=True), (alpha, z)
        )
    elif options.similarity == "flattened":
        alpha, z = (
            {"all": jnp.concatenate([t[kind].reshape(1, -1) for kind in alpha], axis=1)}
            for t in (alpha, z)
        )
    return similarity(alpha, z)


def best(fitness: Array, tie: str) -> Array:
    """Index of the least fitness, NaN last; of equals the first or the last."""
    ranked = jnp.where(jnp.isnan(fitness), jnp.inf, fitness)
    if tie == "first":
        return jnp.argmin(ranked)
    return len(fitness) - 1 - jnp.argmin(ranked[::-1])


def direction(z: dict[str, Array], alpha: dict[str, Array], options: EGNASConfig):
    """s*: where alpha steps, cell kind -> [E, K]."""
    if options.direction == "z":
        return z
    if options.direction == "z_minus_alpha":
        return jax.tree.map(jnp.subtract, z, alpha)
    if options.direction == "double_softmax":
        q = candidate_rows(z, options)
        return {kind: jax.nn.softmax(row, axis=-1) for kind, row in q.items()}
    return {
        kind: jax.nn.softmax(row, axis=-1) - 1.0 / row.shape[-1]
        for kind, row in z.items()
    }


class EGNASState(NamedTuple):
    """What EG-NAS carries.

    Attributes:
      alpha: cell kind -> f32[E, K].
      velocity: of alpha, the same shapes.
      run_key: key data of the run's candidates (used by `candidates="run"`), u32[2].
      epochs: epochs seen, i32[].
      updates: updates of alpha made, i32[].
      skipped: explorations without one finite fitness, i32[].
    """

    alpha: dict[str, Array]
    velocity: dict[str, Array]
    run_key: Array
    epochs: Array
    updates: Array
    skipped: Array


def egnas(net: Supernet, config: EGNASConfig) -> Strategy:
    """EG-NAS as a strategy of the search loop."""
    space = SPACES[net.config.space]

    def init(key: Key) -> EGNASState:
        key_alpha, key_run = jax.random.split(key)
        start = unflatten(space, 1e-3 * jax.random.normal(key_alpha, (space.dim,)))
        zero = jnp.zeros((), jnp.int32)
        still = jax.tree.map(jnp.zeros_like, start)
        run_key = jax.random.key_data(key_run)
        return EGNASState(start, still, run_key, zero, zero, zero)

    def mixing(key: Key, state: EGNASState) -> Mixing:
        del key
        return softmax_mixing(state.alpha)

    def update(key, state, variables, train_batch, valid_batch):
        del train_batch  # weights are the loop's business
        state, info = lax.cond(
            state.epochs >= config.warmup,
            lambda: _explore(net, config, key, state, variables, valid_batch),
            lambda: (state, _no_info()),
        )
        return state._replace(epochs=state.epochs + 1), info

    def incumbent(state: EGNASState) -> Mixing:
        return softmax_mixing(state.alpha)

    return Strategy("epoch", init, mixing, update, incumbent)


def _no_info():
    nothing = jnp.full((), jnp.nan, jnp.float32)
    return {"fitness": nothing, "fitness_accuracy": nothing, "sigma": nothing}


def _sigma(config: EGNASConfig, state: EGNASState) -> Array:
    count = {"by_update": state.updates, "by_epoch": state.epochs}
    if config.sigma == "constant":
        return jnp.float32(config.sigma_start)
    sigma = config.sigma_start / (count[config.sigma] + 1).astype(jnp.float32)
    return jnp.maximum(sigma, config.sigma_floor)


def _centres(config: EGNASConfig, space, key: Key, alpha) -> Array:
    """m_n of every sample, [N, D]."""
    rows = alpha if config.centre == "alpha" else softmax_mixing(alpha).primitives
    draws = 1 if config.centre_noise == "shared" else config.samples
    noise = config.noise * jax.random.normal(key, (draws, space.dim))
    return jnp.broadcast_to(
        flatten(space, rows)[None] + noise, (config.samples, space.dim)
    )


def _candidate_keys(config: EGNASConfig, key: Key, state: EGNASState) -> Array:
    """Keys [N, T] of the generations."""
    shape = (config.samples, config.generations)
    if config.candidates == "fresh":
        return jax.random.split(key, shape)
    same = jax.random.key(1) if config.candidates == "constant" else (
        jax.random.wrap_key_data(state.run_key)
    )  # fmt: skip
    return jnp.broadcast_to(jax.random.split(same, config.generations)[None], shape)


class _Best(NamedTuple):
    """The best individual of a sample so far: z [D], its fitness and count."""

    z: Array
    fitness: Array
    correct: Array


def _explore(net, config, key, state, variables, batch):
    """N samples of T generations; alpha takes one step along the best individual."""
    space = SPACES[net.config.space]
    key_centres, key_candidates = jax.random.split(key)
    evolution = EVOLUTIONS[config.evolution](space.dim, config.population)
    sigma = _sigma(config, state)

    def generation(carry, key):
        es, leader = carry
        z = evolution.ask(key, es)
        priced = price(net, variables, state.alpha, z, *batch, config)
        i = priced.winner
        new = _Best(z[i], _nan_last(priced.fitness[i]), priced.correct[i])
        leader = _better(leader, new, config.tie)
        return (evolution.tell(es, z, priced.fitness), leader), None

    def sample(_, scanned):
        centre, keys = scanned
        zero = jnp.zeros((), jnp.int32)
        nobody = _Best(centre, jnp.float32(jnp.inf), zero)
        carry, _ = lax.scan(generation, (evolution.init(centre, sigma), nobody), keys)
        return None, carry[1]

    centres = _centres(config, space, key_centres, state.alpha)
    keys = _candidate_keys(config, key_candidates, state)
    _, leaders = lax.scan(sample, None, (centres, keys))
    n = _best_sample(net, config, variables, batch, leaders)
    chosen = jax.tree.map(lambda leaf: leaf[n], leaders)
    info = {
        "fitness": chosen.fitness,
        "fitness_accuracy": chosen.correct / len(batch.labels),
        "sigma": sigma,
    }
    return _stepped(space, config, state, chosen), info


def _nan_last(fitness):
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness)


def _better(old: _Best, new: _Best, tie: str) -> _Best:
    wins = new.fitness < old.fitness
    if tie == "last":
        wins = new.fitness <= old.fitness
    return jax.tree.map(lambda a, b: jnp.where(wins, b, a), old, new)


def _best_sample(net, config, variables, batch, leaders: _Best) -> Array:
    """Index of the sample whose leader becomes s*; ties go to the lower."""
    if config.best_sample == "fitness":
        return jnp.argmin(leaders.fitness)
    space = SPACES[net.config.space]
    q = candidate_rows(unflatten(space, leaders.z), config)
    scores = _score(net, variables, softmax_mixing(q), *batch, config)
    # the reference minimises 1 / accuracy and takes 0 for it where nothing is correct
    correct = scores.correct.astype(jnp.float32)
    return jnp.argmin(jnp.where(correct == 0, 0.0, 1.0 / correct))


def _stepped(space, config, state: EGNASState, chosen: _Best) -> EGNASState:
    """Alpha one step further; unchanged, and counted, where all fitness was NaN."""
    finite = jnp.isfinite(chosen.fitness)
    s = direction(unflatten(space, chosen.z), state.alpha, config)

    def moved(v, d):
        return config.momentum * v + d

    velocity = jax.tree.map(moved, state.velocity, s)
    alpha = jax.tree.map(lambda a, v: a + config.step * v, state.alpha, velocity)
    new = state._replace(alpha=alpha, velocity=velocity, updates=state.updates + 1)
    old = state._replace(skipped=state.skipped + 1)
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
