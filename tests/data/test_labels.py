"""Labels beside images: what is a class, what is flattened, what jit leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax import STRATEGIES, EGNASConfig, evaluate_fitness, evaluate_population
from egnas_jax.data.labels import checked_batch, checked_labels
from egnas_jax.retrain import scores
from egnas_jax.search.curvature import alpha_loss
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES
from egnas_jax.types import Batch

SPACE = SPACES["darts7"]


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, np.int8])
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_whole_numbers_of_any_kind_pass_unchanged(kind, make):
    labels = make(np.array([0, 2, 1], kind))
    assert checked_labels(labels, 3, 3) is labels


def test_a_list_becomes_an_array_and_a_column_becomes_flat():
    np.testing.assert_array_equal(checked_labels([0, 2, 1], 3, 3), [0, 2, 1])
    for make in (np.asarray, jnp.asarray):
        flat = checked_labels(make([[0], [2], [1]]), 3, 3)
        assert flat.shape == (3,)
        np.testing.assert_array_equal(flat, [0, 2, 1])


class Tensor:
    """A tensor of another library: it has a shape, a dtype that numpy does not know."""

    dtype = "torch.int64"

    def __init__(self, values, device="cpu"):
        self.values, self.device = np.asarray(values), device
        self.shape, self.ndim = self.values.shape, self.values.ndim

    def __array__(self, dtype=None, copy=None):
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return self.values


@pytest.mark.parametrize("values", [[0, 2, 1], [[0], [2], [1]]])
def test_tensors_of_other_libraries_become_arrays_of_numpy(values):
    labels = checked_labels(Tensor(values), 3, 3)
    assert type(labels) is np.ndarray
    np.testing.assert_array_equal(labels, [0, 2, 1])


@pytest.mark.parametrize(
    "labels, message",
    [
        ([0, -1, 2], r"1 of 3 labels are no class.* 3 classes: -1 \(image 1\)\. "),
        ([0, 3, 2], r"3 \(image 1\).*whole numbers from 0 to 2\. Renumber"),
        ([255, 255, 255], r"3 of 3 labels.*255 \(image 0\), 255 \(image 1\)"),
        (np.array([0, 1, 255], np.uint8), r"255 \(image 2\)"),
        (np.array([0, 1, -1], np.int8), r"-1 \(image 2\)"),
        ([[0], [1], [7]], r"7 \(image 2\)"),
        (np.eye(3, dtype=np.int32), r"shape \(3, 3\).*argmax\(axis=1\)"),
        (np.zeros((3, 1, 1), np.int32), r"shape \(3, 1, 1\), but must be \[N\]"),
        (np.int32(2), r"3 images were given and 1 labels"),
        ([0, 1], r"3 images were given and 2 labels"),
        ([0.0, 1.0, 2.0], r"type float64.*astype\('int32'\)"),
        ([True, False, True], r"type bool"),
        (["cat", "dog", "cat"], r"type <U3"),
        (Tensor([0, 1, 3]), r"3 \(image 2\)"),
        (Tensor([0.0, 1.0, 2.0]), r"type float64"),
        (Tensor([0, 1, 2], "cuda"), r"type Tensor are no array.*cpu\(\)\.numpy"),
        ([[0], [1, 2], [0]], r"type list are no array of whole numbers.*per image"),
        (np.int32(2), r"3 images were given and 1 labels"),
        (None, r"3 images were given and 1 labels"),
    ],
)
def test_labels_that_are_no_classes_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        checked_labels(labels, 3, 3)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="0 images"):
        checked_labels(np.zeros(0, np.int32), 0, 3)


def test_traced_labels_are_left_alone():
    def program(labels):
        assert checked_labels(labels, 3, 3) is labels
        return labels

    jax.jit(program)(jnp.array([0, -1, 7]))
    jax.vmap(program)(jnp.array([[0, -1, 7]]))
    jaxpr = jax.make_jaxpr(program)(jnp.array([0, -1, 7]))
    assert not jaxpr.eqns


def test_constants_inside_a_program_are_checked():
    constant = jnp.array([0, -1, 2])
    with pytest.raises(ValueError, match=r"-1 \(image 1\)"):
        jax.jit(lambda x: x + checked_labels(constant, 3, 3))(jnp.zeros(3, jnp.int32))


def by_population(net, variables, batch):
    mixings = softmax_mixing(unflatten(SPACE, jnp.zeros((2, SPACE.dim))))
    return evaluate_population(net, variables, mixings, batch.images, batch.labels)


def by_fitness(net, variables, batch):
    alpha, z = unflatten(SPACE, jnp.zeros(SPACE.dim)), jnp.ones((2, SPACE.dim))
    options = EGNASConfig(fitness_batch_size=8)
    return evaluate_fitness(
        net, variables, alpha, z, batch.images, batch.labels, options
    )


def by_gradients(net, variables, batch):
    def network(alpha):
        return variables, softmax_mixing(alpha)

    alpha = unflatten(SPACE, jnp.zeros(SPACE.dim))
    return batch_gradients(net, network, alpha, batch)


def by_curvature(net, variables, batch):
    config, make = STRATEGIES["darts"]
    strategy = make(net, config())
    state = strategy.init(jax.random.key(0), strategy.hyperparams)
    loss = alpha_loss(net, strategy, variables, batch, state)
    return loss(jnp.zeros(SPACE.dim))


def by_method(name, **settings):
    def update(net, variables, batch):
        config, make = STRATEGIES[name]
        strategy = make(net, config(**settings))
        hyperparams = jax.tree.map(jnp.float32, strategy.hyperparams)
        state = strategy.init(jax.random.key(0), hyperparams)
        trainee = Trainee(variables, variables["params"], jnp.float32(0.1))
        return strategy.update(
            jax.random.key(1),
            state,
            hyperparams,
            trainee,
            train_batch=batch,
            valid_batch=batch,
        )

    return update


FUNCTIONS = {
    "population": by_population,
    "fitness": by_fitness,
    "gradients": by_gradients,
    "curvature": by_curvature,
    "darts": by_method("darts"),
    "random_search": by_method("random_search", candidates=2, fitness_batch_size=24),
    "egnas": by_method(
        "egnas", population=4, samples=1, generations=1, warmup=0, fitness_batch_size=24
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("evaluate", FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_function_of_images_and_labels_refuses_what_is_no_class(
    evaluate, toy_net, toy_batch
):
    variables = toy_net.init(jax.random.key(0), (4, 4, 3))
    for wrong in (-1, 3, 255):
        batch = toy_batch.replace(labels=toy_batch.labels.at[5].set(wrong))
        with pytest.raises(ValueError, match=rf"{wrong} \(image 5\)"):
            evaluate(toy_net, variables, batch)
    rows = toy_batch.replace(labels=jax.nn.one_hot(toy_batch.labels, 3))
    with pytest.raises(ValueError, match=r"argmax\(axis=1\)"):
        evaluate(toy_net, variables, rows)


@pytest.mark.slow
@pytest.mark.parametrize("evaluate", [by_population, by_fitness, by_gradients])
def test_a_column_of_labels_scores_as_a_flat_list(evaluate, toy_net, toy_batch):
    variables = toy_net.init(jax.random.key(0), (4, 4, 3))
    flat = evaluate(toy_net, variables, toy_batch)
    column = evaluate(
        toy_net, variables, Batch(toy_batch.images, toy_batch.labels[:, None])
    )
    jax.tree.map(np.testing.assert_array_equal, column, flat)


def test_a_batch_is_checked_as_its_labels_are(toy_batch):
    column = toy_batch.replace(labels=toy_batch.labels[:, None])
    checked = checked_batch(column, 3)
    np.testing.assert_array_equal(checked.labels, toy_batch.labels)
    assert checked.images is toy_batch.images


@pytest.mark.parametrize("function", [scores.score, scores.confusion])
@pytest.mark.parametrize("wrong", [-1, 3])
def test_scores_refuse_labels_that_are_no_classes(function, wrong):
    with pytest.raises(ValueError, match=rf"{wrong} \(image 1\)"):
        function(np.zeros((2, 3)), np.array([0, wrong]))
