"""Differentiates the validation loss by alpha through one step of the weights.

    w'(alpha) = w - rate (momentum_rate * buffer + dL_train(w, alpha)/dw + decay * w)
    d/dalpha L_valid(w'(alpha), alpha) = L_valid's own gradient - rate * h
    h = d/dalpha <dL_train(w, alpha)/dw, v>, where v = dL_valid(w', alpha)/dw'

Two forms of h exist. `exact` differentiates. `finite_difference` is what the reference
computes, [dL_train(w + R v)/dalpha - dL_train(w - R v)/dalpha] / 2 R with R = 0.01/|v|.
They are different methods: the difference does not approximate h, because the ReLUs and
poolings of a network have kinks within R v. On the network of the golden numbers its
cosine with h is 0.39, and it is six times as large.

Source: DARTS (Liu et al., ICLR 2019), equations (7) and (8); architect.py of its
reference, which does not clip the gradient of the step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from egnas_jax.nn import lowering
from egnas_jax.nn.supernet import Supernet
from egnas_jax.search.cost import FORWARD_BACKWARD, Passes
from egnas_jax.search.curvature import LOWERING, twice_differentiable
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing
from egnas_jax.search.strategy import Trainee
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Batch, Key, PyTree

FORMS = ("exact", "finite_difference")
RADIUS = 0.01  # norm of the step R v
# On the training batch: the gradient of the next weight step, and either two gradients
# at displaced weights, or the derivative of one gradient, which takes twice its passes.
SECOND_ORDER = Passes(valid=FORWARD_BACKWARD, train=3 * FORWARD_BACKWARD)


def second_order_gradient(
    net: Supernet,
    form: str,
    alpha: dict[str, Array],
    trainee: Trainee,
    *,
    train_batch: Batch,
    valid_batch: Batch,
    key: Key | None = None,
) -> dict[str, Array]:
    """Returns alpha's gradient through one step of the weights.

    Args:
      net: the supernet, whose batch norms use the statistics of each batch.
      form: of `FORMS`.
      alpha: cell kind -> f32[E, K].
      trainee: the weights, before the step, and the SGD that takes it.
      train_batch: of the step.
      valid_batch: of the loss after the step.
      key: of the primitives that draw. All passes draw the same numbers, so that the
        two forms of h belong to one loss.

    Returns:
      cell kind -> f32[E, K].
    """
    batches = {"train_batch": train_batch, "valid_batch": valid_batch}
    gradients = unrolled_gradients(net, alpha, trainee, **batches, key=key)
    gradient_of_alpha, direction = gradients
    derivative = mixed_derivative if form == "exact" else mixed_difference
    mixed = derivative(net, alpha, trainee.variables, direction, train_batch, key=key)
    rate = trainee.learning_rate
    if trainee.nesterov:  # whose step has the gradient once, and by its momentum again
        rate *= 1 + trainee.momentum_rate
    return jax.tree.map(lambda d, h: d - rate * h, gradient_of_alpha, mixed)


def unrolled_gradients(
    net: Supernet,
    alpha: dict[str, Array],
    trainee: Trainee,
    *,
    train_batch: Batch,
    valid_batch: Batch,
    key: Key | None = None,
) -> tuple[dict[str, Array], PyTree]:
    """Returns the validation loss's gradients by alpha and by the weights after a step.

    Args:
      net, alpha, trainee, train_batch, valid_batch, key: see
        `second_order_gradient`.
    """

    def step(params, batch):
        wrt = {"params": params, "alpha": alpha}
        gradients = _gradients(net, wrt, trainee.variables, batch, key=key)
        return unrolled_step(trainee, gradients["params"]), gradients

    params = trainee.variables["params"]
    gradients = _last_of_two(step, params, train_batch, valid_batch)
    return gradients["alpha"], gradients["params"]


def _last_of_two(step: Callable, carry: PyTree, first: Batch, second: Batch) -> PyTree:
    """The second result of a step that is taken for two batches in turn.

    Batches of one shape share a compiled body: a network compiles for many seconds.
    """
    shapes = [jax.tree.map(jnp.shape, batch) for batch in (first, second)]
    if shapes[0] != shapes[1]:
        carry, _ = step(carry, first)
        return step(carry, second)[1]
    batches = jax.tree.map(lambda a, b: jnp.stack([a, b]), first, second)
    _, results = lax.scan(step, carry, batches)
    return jax.tree.map(lambda leaf: leaf[1], results)


def unrolled_step(trainee: Trainee, gradient: PyTree) -> PyTree:
    """Returns the weights after a step of SGD that clips no gradient.

    Args:
      trainee: the weights, their momentum, and the numbers of SGD.
      gradient: of the loss by the weights.
    """

    def move(weight, momentum, gradient):
        velocity = trainee.momentum_rate * momentum + gradient
        velocity += trainee.weight_decay * weight
        if trainee.nesterov:
            velocity = trainee.momentum_rate * velocity + gradient
            velocity += trainee.weight_decay * weight
        return weight - trainee.learning_rate * velocity

    params = trainee.variables["params"]
    return jax.tree.map(move, params, trainee.momentum, gradient)


def mixed_difference(
    net: Supernet,
    alpha: dict[str, Array],
    variables: PyTree,
    direction: PyTree,
    batch: Batch,
    *,
    key: Key | None = None,
) -> dict[str, Array]:
    """Returns the reference's difference of alpha's gradients at w + R v and w - R v.

    Products keep all bits of float32. Recent GPUs round factors to 11 bits by default
    (TF32), and the rounding errors may be larger than the difference.

    Args:
      net: the supernet.
      alpha: cell kind -> f32[E, K].
      variables: {"params", "batch_stats"}; the parameters are w.
      direction: v, a tree of the parameters.
      batch: training images.
      key: of the primitives that draw.
    """
    radius = RADIUS / optax.global_norm(direction)

    def gradient(sign):
        params = jax.tree.map(
            lambda w, v: w + sign * radius * v, variables["params"], direction
        )
        displaced = {**variables, "params": params}
        return _gradients(net, {"alpha": alpha}, displaced, batch, key=key)["alpha"]

    with jax.default_matmul_precision("highest"):
        gradients = lax.map(gradient, jnp.asarray([1.0, -1.0]))
    return jax.tree.map(lambda g: (g[0] - g[1]) / (2.0 * radius), gradients)


def mixed_derivative(
    net: Supernet,
    alpha: dict[str, Array],
    variables: PyTree,
    direction: PyTree,
    batch: Batch,
    *,
    key: Key | None = None,
) -> dict[str, Array]:
    """Returns h = d/dalpha <dL/dw, v>, by reverse over forward mode.

    The inner product is the derivative of the loss along v. No gradient by the weights
    is computed, so the program is a third of that of reverse over reverse mode.

    Every device computes the whole batch, where several share the other passes: the
    all-reduces of batch norm have no second derivative.

    Args:
      net, alpha, variables, direction, batch, key: see `mixed_difference`.
    """
    net = twice_differentiable(net, _lowering_for(batch))
    optional = {"key": key} if net.draws else {}

    def loss(params, alpha):
        changed = {**variables, "params": params}
        mixing = softmax_mixing(alpha, SPACES[net.config.space])
        logits, _ = net.apply(changed, batch.images, mixing, train=True, **optional)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses)

    def slope(alpha):
        along = (variables["params"],), (direction,)
        return jax.jvp(lambda params: loss(params, alpha), *along)[1]

    with lowering.forward_mode():
        return jax.grad(slope)(alpha)


def _lowering_for(batch: Batch) -> str:
    """The kernels with a forward mode that compile fastest.

    On a CPU, an epoch of the preset digits compiles in 66 s of processor time with
    products of matrices, and in 110 s with XLA's own convolutions.
    """
    is_matrix = lowering.for_images("auto", batch.images.shape[1:3]) == "matrix"
    return "matrix" if is_matrix else LOWERING


def _gradients(net, wrt, variables, batch, *, key) -> PyTree:
    """Gradients of the mean loss by alpha, and by the weights if `wrt` has them."""

    def network(wrt, variables):
        params = wrt.get("params", variables["params"])
        mixing = softmax_mixing(wrt["alpha"], SPACES[net.config.space])
        return {**variables, "params": params}, mixing

    gradients, _ = batch_gradients(net, network, wrt, batch, variables, key=key)
    return gradients.gradient
