"""Population evaluation is a loop over individuals, whatever the chunks."""

import dataclasses
import logging
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn.supernet import Supernet, SupernetConfig, make_supernet
from egnas_jax.search.evaluate import evaluate_population
from egnas_jax.space import SPACES, Space
from egnas_jax.types import Array, Mixing, PyTree

# One node and three primitives, so that a network compiles in a moment.
SMALL = Space(
    name="small",
    primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=1,
)
# as `SMALL`, but with other edges
OTHER_GRAPH = dataclasses.replace(SMALL, name="other", num_nodes=2, edges=None)
IMAGES = 8


class Problem(NamedTuple):
    """What is evaluated: five members, eight images."""

    net: Supernet
    variables: PyTree
    mixings: Mixing
    images: Array
    labels: Array


def unlike_variables(net):
    """Weights and statistics of which no two are equal, on the host."""
    rng = np.random.default_rng(0)
    bounds = {"params": (-1.0, 1.0), "batch_stats": (0.5, 1.5)}

    def numbers(part, leaf):
        return rng.uniform(*bounds[part], leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (8, 8, 3)))
    return {
        part: jax.tree.map(lambda leaf, part=part: numbers(part, leaf), leaves)
        for part, leaves in shapes.items()
    }


def population(space, size, seed=1):
    """Members far apart from each other, of unlike edge weights."""
    rng = np.random.default_rng(seed)
    shape = size, space.num_edges, len(space.primitives)

    def numbers(low, high, shape):
        return {
            kind: rng.uniform(low, high, shape).astype(np.float32)
            for kind in space.kinds
        }

    return Mixing(numbers(-2.0, 2.0, shape), numbers(0.0, 2.0, shape[:2]))


def members(mixings, index):
    """One member, or several in a new order."""
    return jax.tree.map(lambda leaf: leaf[index], mixings)


def logits_of(net, variables, images, mixing, train=False):
    """The network alone on one member, in float64."""
    run = jax.jit(net.apply, static_argnums=3)
    return np.asarray(run(variables, images, mixing, train)[0], np.float64)


def make_problem(space, size):
    """A problem of which the first member solves five images, the last one included."""
    config = SupernetConfig(
        channels=4, layers=1, num_classes=4, partial_channels=2, space=space.name
    )
    net = make_supernet(config)
    variables, mixings = unlike_variables(net), population(space, size)
    rng = np.random.default_rng(5)
    pixels = rng.normal(size=(IMAGES, 8, 8, 3)) + rng.normal(size=(IMAGES, 1, 1, 3))
    images = pixels.astype(np.float32)
    labels = logits_of(net, variables, images, members(mixings, 0)).argmax(axis=-1)
    labels[:3] += 1
    return Problem(net, variables, mixings, images, (labels % 4).astype(np.int32))


@pytest.fixture(scope="module")
def small():
    """A problem of `SMALL` cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SMALL.name, SMALL)
        yield make_problem(SMALL, 5)


def by_loop(problem, train):
    """Loss and correct answers of one member after another."""
    net, variables, mixings, images, labels = problem
    losses, correct = [], []
    for index in range(len(mixings.primitives["normal"])):
        logits = logits_of(net, variables, images, members(mixings, index), train)
        own = logits[np.arange(IMAGES), labels]
        losses.append((np.logaddexp.reduce(logits, axis=-1) - own).mean())
        correct.append((logits.argmax(axis=-1) == labels).sum())
    return np.array(losses), np.array(correct)


@pytest.fixture(scope="module")
def with_running(small):
    return by_loop(small, False)


@pytest.fixture(scope="module")
def with_batch(small):
    return by_loop(small, True)


def same(evaluation, expected):
    losses, correct = expected
    np.testing.assert_allclose(evaluation.loss, losses, rtol=1e-5)
    np.testing.assert_array_equal(evaluation.correct, correct)
    np.testing.assert_allclose(
        evaluation.accuracy, np.asarray(correct) / IMAGES, rtol=1e-6
    )


def test_the_members_of_the_problem_differ(with_running, with_batch):
    for losses, correct in (with_running, with_batch):
        assert len(np.unique(losses.round(3))) == 5
        assert len(np.unique(correct)) > 1
    assert with_running[1][0] == 5
    assert np.abs(with_running[0] - with_batch[0]).min() > 1e-2


def test_a_population_of_full_cells_scores_as_a_loop_over_its_members():
    problem = make_problem(SPACES["darts7"], 3)
    scores = evaluate_population(*problem, population_chunk=3)
    same(scores, by_loop(problem, False))
    assert (scores.loss.dtype, scores.accuracy.dtype) == (jnp.float32, jnp.float32)
    assert scores.correct.dtype == jnp.int32


@pytest.mark.parametrize("image_chunk", [3, 8, None])
@pytest.mark.parametrize("population_chunk", [1, 2, 5, None])
def test_chunks_change_nothing(small, with_running, population_chunk, image_chunk):
    scores = evaluate_population(
        *small, population_chunk=population_chunk, image_chunk=image_chunk
    )
    same(scores, with_running)


def test_chunks_may_exceed_what_there_is(small, with_running):
    same(evaluate_population(*small, population_chunk=9, image_chunk=99), with_running)


@pytest.mark.parametrize("population_chunk", [1, 2, 5, None])
def test_chunks_change_nothing_under_batch_statistics(
    small, with_batch, population_chunk
):
    scores = evaluate_population(
        *small, population_chunk=population_chunk, batch_stats="batch"
    )
    same(scores, with_batch)


@pytest.mark.parametrize("batch_stats", ["running", "batch"])
def test_inside_a_jit_the_scores_are_the_same(
    small, with_running, with_batch, batch_stats
):
    @jax.jit
    def score(mixings):
        given = small._replace(mixings=mixings)
        return evaluate_population(*given, batch_stats=batch_stats)

    expected = {"running": with_running, "batch": with_batch}
    same(score(small.mixings), expected[batch_stats])


@pytest.mark.parametrize("batch_stats", ["running", "batch"])
def test_a_member_depends_neither_on_order_nor_on_size(
    small, with_running, with_batch, batch_stats
):
    losses, correct = {"running": with_running, "batch": with_batch}[batch_stats]
    for index in ([4, 2, 0, 3, 1], [3, 1]):
        chosen = members(small.mixings, index)
        scores = evaluate_population(
            *small._replace(mixings=chosen), population_chunk=3, batch_stats=batch_stats
        )
        same(scores, (losses[index], correct[index]))


@pytest.mark.parametrize("batch_stats", ["running", "batch"])
@pytest.mark.parametrize("kept", [1, 4])
def test_a_member_does_not_depend_on_neighbours_that_are_nan(
    small, with_running, with_batch, batch_stats, kept
):
    losses, correct = {"running": with_running, "batch": with_batch}[batch_stats]
    lost = np.arange(5) != kept
    spoilt = jax.tree.map(np.copy, small.mixings)
    for leaf in jax.tree.leaves(spoilt):
        leaf[lost] = np.nan
    scores = evaluate_population(
        *small._replace(mixings=spoilt), population_chunk=3, batch_stats=batch_stats
    )
    np.testing.assert_allclose(scores.loss[kept], losses[kept], rtol=1e-5)
    assert scores.correct[kept] == correct[kept]
    assert np.isnan(np.asarray(scores.loss)[lost]).all()


def test_running_statistics_are_read_and_never_moved(small, with_running, with_batch):
    given = small._replace(variables=jax.tree.map(jnp.array, small.variables))
    evaluate = {
        name: lambda given, name=name: evaluate_population(*given, batch_stats=name)
        for name in ("running", "batch")
    }
    same(evaluate["batch"](given), with_batch)
    same(evaluate["running"](given), with_running)
    jax.tree.map(np.testing.assert_array_equal, given.variables, small.variables)

    doubled = jax.tree.map(lambda leaf: 2.0 * leaf, small.variables["batch_stats"])
    moved = small._replace(variables={**small.variables, "batch_stats": doubled})
    same(evaluate["batch"](moved), with_batch)  # does not read them
    other = evaluate["running"](moved).loss
    assert np.abs(other - with_running[0]).min() > 1e-3


def traced_once(problem):
    """The same problem with a network that fails if it is traced a second time."""
    apply = chex.assert_max_traces(problem.net.apply, n=1)
    return problem._replace(net=problem.net._replace(apply=apply))


@pytest.mark.parametrize("chunk", [None, 10])
@pytest.mark.parametrize("size", [7, 50])
def test_a_population_of_any_size_traces_the_network_once(small, size, chunk):
    problem = traced_once(small)

    def score(mixings):
        return evaluate_population(
            *problem._replace(mixings=mixings), population_chunk=chunk
        )

    scores = jax.eval_shape(score, population(SMALL, size))
    assert scores.loss.shape == (size,)


def test_fifty_individuals_compile_one_program_and_fifty_more_none(small, caplog):
    problem = traced_once(small)
    compiled = []
    for seed in (1, 2):
        mixings = population(SMALL, 50, seed)
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.DEBUG):
            evaluate_population(*problem._replace(mixings=mixings))
        messages = [record.getMessage() for record in caplog.records]
        compiled.append(sum("Compiling" in message for message in messages))
    assert compiled == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_stats": "moving"}, "batch_stats is 'moving'.*running.*batch"),
        ({"population_chunk": 0}, "population_chunk is 0, .* from 1"),
        ({"population_chunk": 2.5}, "population_chunk is 2.5, .*a whole number"),
        ({"population_chunk": True}, "population_chunk is True, .*a whole number"),
        ({"image_chunk": -3}, "image_chunk is -3, .* from 1"),
        ({"batch_stats": "batch", "image_chunk": 4}, "image_chunk is 4, .*all its"),
    ],
)
def test_bad_options_are_refused_and_named(small, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_population(*small, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(7, np.int32)}, "8 images were given and 7 labels"),
        (
            {
                "images": np.zeros((0, 8, 8, 3), np.float32),
                "labels": np.zeros(0, np.int32),
            },
            "0 images",
        ),
        (
            {"images": np.zeros((8, 8, 8, 3), np.uint8)},
            "images are uint8, .*normalised.*valid_batch",
        ),
        ({"mixings": population(SMALL, 0)}, "P >= 1"),
        ({"mixings": members(population(SMALL, 2), 0)}, r"leaf\[None\]"),
        (
            {"mixings": population(OTHER_GRAPH, 2)},
            r"primitives\['normal'\].* must be .*\(2, 3\); got shape \(5, 3\)",
        ),
        (
            {"mixings": population(SPACES["nasbench201"], 2)},
            r"lacks the kind 'normal'; it holds \['cell'\]",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(small, changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate_population(*small._replace(**changes))


def test_a_member_that_is_nan_answers_nothing(small):
    """Although the argmax of NaNs is a class."""
    spoilt = jax.tree.map(lambda leaf: leaf * np.nan, small.mixings)
    zeros = np.zeros(IMAGES, np.int32)
    scores = evaluate_population(*small._replace(mixings=spoilt, labels=zeros))
    np.testing.assert_array_equal(scores.correct, np.zeros(5))
    np.testing.assert_array_equal(scores.accuracy, np.zeros(5))
