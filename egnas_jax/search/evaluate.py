"""Evaluates a population of mixings under one set of weights, in one pass.

Weights and images carry no population axis: `jax.vmap` runs over the mixings alone.
Both axes are processed in chunks by `lax.map`, so that memory is bounded and the
network is compiled once however many individuals there are. An individual's result
does not depend on the population's size, its neighbours, or the chunks; where
primitives draw random numbers, it depends on the chunks of the images
(nn/drawing_keys.py).

Where the network has a mesh its devices divide the individuals among them, or the
chunks of images where there is one individual.

Dims: P population, N images, H, W sides, C channels of an image, E edges, K primitives.
"""

import functools
from collections.abc import Callable
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Float, Int

from egnas_jax.data.labels import checked_labels
from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet, SupernetConfig
from egnas_jax.settings import check_whole
from egnas_jax.training import memory_model, out_of_memory
from egnas_jax.training.chunks import chunked
from egnas_jax.training.processes import min_over_processes
from egnas_jax.training.shards import division_of, over_rows, rows_per_part
from egnas_jax.types import Array, Batch, Evaluation, Mixing, PyTree

STATISTICS = ("running", "batch")


def default_chunks(
    config: SupernetConfig,
    side: int,
    individuals: int,
    images: int,
    *,
    batch_stats: str,
    free_bytes: Callable[[], int | None] = out_of_memory.free_bytes,
) -> tuple[int, int]:
    """Returns how many individuals and images are evaluated at a time by default.

    On a CPU that is one individual and 32 images, which fit the cache; on an
    accelerator as many as its free memory holds.

    Args:
      config: of the supernet.
      side: of an image, pixels.
      individuals, images: P and N.
      batch_stats: "running" or "batch", whose images cannot be split.
      free_bytes: () -> free memory of the device, or None where it is unknown.
    """
    if jax.default_backend() == "cpu":
        return 1, min(images, 32) if batch_stats == "running" else images
    free = free_bytes()
    if free is None:  # the device does not report it
        return individuals, images
    return memory_model.fitting_chunks(
        config,
        side,
        individuals,
        images,
        free=free,
        split_images=batch_stats == "running",
    )


def evaluate_population(
    net: Supernet,
    variables: PyTree,
    mixings: Mixing,
    images: Float[Array, "N H W C"],
    labels: Int[Array, " N"],
    *,
    population_chunk: int | None = None,
    image_chunk: int | None = None,
    batch_stats: str = "running",
) -> Evaluation:
    """Evaluates P mixings on the same images.

    Args:
      net: the supernet, on one device or on a mesh.
      variables: {"params", "batch_stats"}; nothing in them changes.
      mixings: leaves [P, E, K] and [P, E].
      images: f32[N, H, W, C], normalised.
      labels: i32[N], from 0; a column [N, 1] is flattened.
      population_chunk, image_chunk: how many at a time; None chooses by backend.
      batch_stats: "running" statistics, or those of the "batch" of all N images, each
        individual's own; then the images cannot be split.

    Returns:
      loss f32[P] (mean cross entropy), correct i32[P], accuracy f32[P] (a fraction).

    Raises:
      ValueError: unknown `batch_stats`; a chunk below 1; `image_chunk` together with
        batch statistics; no images, images of whole numbers, or another number of
        labels; labels that are no classes of the network, unless they are traced;
        leaves of `mixings` that do not share an axis P, or are not of the space.
    """
    check_options(batch_stats, population_chunk, image_chunk)
    _check_mixings(mixings)
    labels = checked_labels(labels, len(images), net.config.num_classes)
    options = dict(
        population_chunk=population_chunk,
        image_chunk=image_chunk,
        batch_stats=batch_stats,
    )
    arguments = variables, mixings, images, labels
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)):
        # inside the caller's `jit`, which compiles it with its own options
        return score_population(net, *arguments, **options)
    shape, backend = images.shape[1:3], jax.default_backend()
    run = _compiled(net, tuple(options.items()), shape, backend)
    return run(*arguments)


@functools.cache
def _compiled(net, options, shape, backend):
    """One program for each network, setting and size of image.

    It is compiled at its first call.
    """
    del backend  # part of the cache's key: chunks and compiler options depend on it
    run = functools.partial(score_population, net, **dict(options))
    return jax.jit(run, compiler_options=lowering.compiler_options(shape))


def check_options(
    batch_stats: str,
    population_chunk: int | None,
    image_chunk: int | None,
    prefix: str = "",
) -> None:
    """Refuses options that `evaluate_population` cannot serve.

    Args:
      batch_stats, population_chunk, image_chunk: see `evaluate_population`.
      prefix: of their names in the message, "strategy." for example.

    Raises:
      ValueError: unknown `batch_stats`, a chunk that is no whole number from 1, or
        `image_chunk` together with batch statistics.
    """
    if batch_stats not in STATISTICS:
        raise ValueError(
            f"{prefix}batch_stats is {batch_stats!r}, but must be one of "
            f"{', '.join(STATISTICS)}."
        )
    for name, chunk in (
        ("population_chunk", population_chunk),
        ("image_chunk", image_chunk),
    ):
        if chunk is not None:
            check_whole(prefix + name, chunk, 1)
    if batch_stats == "batch" and image_chunk is not None:
        raise ValueError(
            f"{prefix}image_chunk is {image_chunk}, but statistics of the batch need "
            f"all its images at once: leave it out, or set {prefix}batch_stats=running."
        )


def _check_mixings(mixings):
    shapes = [leaf.shape for leaf in jax.tree.leaves(mixings)]
    # [P, E, K] of primitives, [P, E] of edges
    ranks = [len(leaf.shape) for leaf in jax.tree.leaves(mixings.edges)]
    sizes = {shape[0] for shape in shapes if shape}
    if set(ranks) != {2} or len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"mixings has leaves of shapes {shapes}, but each must have a leading axis "
            f"P >= 1, the same in all; add one by leaf[None]."
        )


class EvaluationSettings(Protocol):
    """What a method's configuration says of its evaluations.

    Attributes:
      population_chunk, image_chunk, batch_stats: see `evaluate_population`.
    """

    @property
    def population_chunk(self) -> int | None: ...

    @property
    def image_chunk(self) -> int | None: ...

    @property
    def batch_stats(self) -> str: ...


def score_batch(
    net: Supernet,
    variables: PyTree,
    mixings: Mixing,
    batch: Batch,
    settings: EvaluationSettings,
) -> Evaluation:
    """Evaluates a population inside a `jax.jit` as a method's settings say.

    Args:
      net, variables, mixings: see `evaluate_population`.
      batch: the images and their labels.
      settings: of the method.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    return score_population(
        net,
        variables,
        mixings,
        batch.images,
        batch.labels,
        population_chunk=settings.population_chunk,
        image_chunk=settings.image_chunk,
        batch_stats=settings.batch_stats,
    )


def score_population(
    net: Supernet,
    variables: PyTree,
    mixings: Mixing,
    images: Array,
    labels: Array,
    *,
    population_chunk: int | None,
    image_chunk: int | None,
    batch_stats: str,
) -> Evaluation:
    """Evaluates a population inside a `jax.jit`; arguments of `evaluate_population`.

    Raises:
      ValueError: a label that is not traced is outside 0 to num_classes - 1.
    """
    labels = checked_labels(labels, len(images), net.config.num_classes)
    chex.assert_rank([images, labels], [4, 1])
    chex.assert_equal_shape_prefix(jax.tree.leaves(mixings), 1)
    size, total = jax.tree.leaves(mixings.edges)[0].shape[0], len(labels)
    individuals_at_a_time, images_at_a_time = _chunks(
        net,
        images,
        size,
        batch_stats=batch_stats,
        population_chunk=population_chunk,
        image_chunk=image_chunk,
    )
    chunks, num_chunks = chunked((images, labels), total, images_at_a_time)
    places = jnp.arange(num_chunks * images_at_a_time)
    chunks = *chunks, (places < total).reshape(-1, images_at_a_time)
    apply = functools.partial(
        net.apply,
        train=batch_stats == "batch",
        many_mixings=size > individuals_at_a_time,
    )
    by_chunk = functools.partial(_sums_by_chunk, apply, individuals_at_a_time)

    def by_individual(mixings, chunks, variables):
        return jax.tree.map(jnp.transpose, by_chunk(chunks, mixings, variables))

    # `over_rows` divides the first axis among the devices: the chunks of images of a
    # single individual, else the individuals, whose sums [chunks, P] are turned for it.
    if size == 1:
        sums = over_rows(division_of(net), by_chunk, chunks, mixings, variables)
    else:
        sums = over_rows(division_of(net), by_individual, mixings, chunks, variables)
        sums = jax.tree.map(jnp.transpose, sums)
    loss, correct = (jnp.sum(part, axis=0) for part in sums)
    return Evaluation(loss / total, correct, correct / total)


def _sums_by_chunk(apply, at_a_time, chunks, mixings, variables):
    """`_sums` of each individual on each chunk of images, leaves [chunks, P].

    Args:
      apply: (variables, images, mixing) -> logits and statistics.
      at_a_time: individuals that are evaluated at a time.
      chunks: images, labels, and which of them are real, [chunks, images, ...].
      mixings: leaves [P, ...].
      variables: of the network.
    """
    number = len(jax.tree.leaves(mixings)[0])

    def on_chunk(chunk):
        images, labels, real = chunk

        def of_individual(mixing):
            logits, _ = apply(variables, images, mixing)
            return _sums(logits, labels, real)

        population, _ = chunked(mixings, number, min(at_a_time, number))
        sums = lax.map(jax.vmap(of_individual), population)
        return jax.tree.map(lambda leaf: leaf.reshape(-1)[:number], sums)

    return lax.map(on_chunk, chunks)


def _chunks(net, images, size, *, batch_stats, population_chunk, image_chunk):
    """Individuals and images at a time, in one part of the division."""
    division = division_of(net)
    num_images, num_individuals = len(images), rows_per_part(size, division)
    individuals_at_a_time, images_at_a_time = default_chunks(
        net.config,
        max(images.shape[1:3]),
        num_individuals,
        num_images,
        batch_stats=batch_stats,
        # all processes must compile the same program
        free_bytes=lambda: min_over_processes(out_of_memory.free_bytes()),
    )
    images_at_a_time = image_chunk or images_at_a_time
    if size == 1 and batch_stats == "running":  # the parts are of images
        images_at_a_time = min(images_at_a_time, rows_per_part(num_images, division))
    individuals_at_a_time = population_chunk or individuals_at_a_time
    return min(individuals_at_a_time, size), min(images_at_a_time, num_images)


def _sums(logits, labels, real):
    """Cross entropy and correct answers, summed over the images that are real."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    # the argmax of NaNs is class 0, which would count as an answer
    hits = (jnp.argmax(logits, axis=-1) == labels) & real & ~jnp.isnan(losses)
    return jnp.sum(jnp.where(real, losses, 0.0)), jnp.sum(hits, dtype=jnp.int32)
