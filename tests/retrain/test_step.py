"""One weight step against a computation by other means, and the effect of options."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.data.dataset import LabelledImages
from egnas_jax.nn import lowering
from egnas_jax.retrain.input_pipeline import InputPipeline
from egnas_jax.retrain.step import (
    RetrainProblem,
    StepInputs,
    hyperparams_of,
    make_programs,
    mean_cross_entropy,
    training_loss,
    weight_step,
)
from egnas_jax.training.sgd import make_optimizer
from egnas_jax.types import Batch

IMAGES = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
LABELS = jnp.arange(8, dtype=jnp.int32)
INPUTS = {"epoch": 2, "learning_rate": 0.1, "drop_path": 0.0, "seed": 0}
PLAIN = "network.drop_path=0", "weight_decay=0"


@pytest.fixture(scope="module")
def step(tiny):
    """(changed settings) -> the run, and the state before and after one step."""

    def take(*overrides, images=IMAGES, labels=LABELS):
        run = tiny("batch_size=8", *overrides)
        before = run.programs.init()
        batch = Batch(images=images, labels=labels)
        inputs = StepInputs(**INPUTS, hyperparams=hyperparams_of(run.config))
        compiled = jax.jit(
            lambda state: weight_step(run.net, run.config, state, batch, inputs),
            compiler_options=lowering.compiler_options(),
        )
        return run, before, compiled(before)

    return take


def changes(before, after):
    return jax.tree.map(jnp.subtract, after.params, before.params)


@pytest.mark.slow
def test_a_step_is_clipped_sgd_with_decay(step):
    """Torch's rule: w - rate (clip(gradient) + decay w), at the first step."""
    run, before, after = step(
        "clip_norm=0.5", "weight_decay=0.01", "network.drop_path=0"
    )

    def loss(params):
        variables = {"params": params, "batch_stats": before.batch_stats}
        logits = run.net.apply(variables, IMAGES, train=True)[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    value, gradients = jax.jit(jax.value_and_grad(loss))(before.params)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradients)))
    assert norm > 0.5
    expected = jax.tree.map(
        lambda w, g: w - 0.1 * (g * (0.5 / norm) + 0.01 * w), before.params, gradients
    )
    chex.assert_trees_all_close(after.params, expected, rtol=1e-7, atol=1e-5)
    np.testing.assert_allclose(after.losses, [0, 0, value, 0], rtol=1e-5)
    assert after.step == 1 and after.correct.shape == (run.config.epochs,)


@pytest.mark.slow
def test_a_batch_in_parts_averages_the_gradients_of_its_parts(step):
    plain = *PLAIN, "clip_norm=1e9"
    in_parts = changes(*step(*plain, "accumulate=2")[1:])
    first, second = (
        changes(*step(*plain, images=IMAGES[part], labels=LABELS[part])[1:])
        for part in (slice(4), slice(4, 8))
    )
    mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
    chex.assert_trees_all_close(in_parts, mean, rtol=1e-7, atol=1e-6)


def test_smoothed_labels_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    loss = mean_cross_entropy(logits, jnp.array([0]), smoothing=0.1)
    by_hand = -(0.9 + 0.1 / 3) * np.log(0.7) - 0.1 / 3 * (np.log(0.2) + np.log(0.1))
    np.testing.assert_allclose(loss, by_hand, rtol=1e-6)


def test_the_auxiliary_loss_is_weighted_and_not_recorded(tiny):
    run = tiny()
    logits, auxiliary = jnp.log(jnp.array([[[0.7, 0.3]], [[0.2, 0.8]]]))
    net = run.net._replace(apply=lambda *_, **options: (logits, auxiliary, {}))
    batch = Batch(images=IMAGES[:1], labels=jnp.array([0]))
    loss, (_, recorded, correct) = training_loss(
        {},
        net,
        run.config,
        {},
        batch,
        key=jax.random.key(0),
        drop_path=0.0,
        auxiliary_weight=0.4,
    )
    np.testing.assert_allclose(loss, -np.log(0.7) - 0.4 * np.log(0.2), rtol=1e-6)
    np.testing.assert_allclose(recorded, -np.log(0.7), rtol=1e-6)
    assert correct == 1


@pytest.mark.slow
def test_bfloat16_takes_nearly_the_same_step_and_keeps_f32(step):
    _, before, exact = step(*PLAIN)
    _, _, short = step(*PLAIN, "precision=bfloat16")
    kept = short.params, short.batch_stats, short.optimizer
    assert {leaf.dtype.name for leaf in jax.tree.leaves(kept)} == {"float32"}
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(changes(before, s))])
        for s in (exact, short)
    ]
    cosine = np.dot(*flat) / np.prod([np.linalg.norm(c) for c in flat])
    # 8 bits of mantissa: near, but not the same
    assert 0.98 < cosine < 0.999999


def test_a_batch_of_another_shape_is_refused_while_tracing(step):
    with pytest.raises(AssertionError, match="rank"):
        step(images=IMAGES[..., 0])
    with pytest.raises(AssertionError, match="shape"):
        step(labels=LABELS[:7])


@pytest.fixture(scope="module")
def losses(tiny):
    """Loss of one step of a stand-in network that reveals its inputs.

    Its logits are the mean pixel of each image plus a draw of the key times the drop
    probability; batches, weights and learning rate are always the same.
    """
    images = jnp.arange(4 * 64, dtype=jnp.uint32).reshape(4, 8, 8, 1) * 37 % 251
    half = LabelledImages(images.astype(jnp.uint8), LABELS[:4] % 2)

    def apply(variables, images, *, train, key, drop_path):
        noise = jax.random.normal(key, (len(images),))
        output = jnp.mean(images, (1, 2, 3)) + drop_path * noise
        logits = jnp.stack([output, variables["params"]["w"] - output], axis=-1)
        return logits, None, {}

    def take(*overrides, step=0, drop=0.0, seed=0, halves=2):
        run = tiny("batch_size=8", f"seed={seed}", *overrides)
        batch = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * halves), half)
        problem = RetrainProblem(
            net=run.net._replace(apply=apply),
            config=run.config,
            image_shape=(8, 8, 1),
            scale=((0.5,), (0.2,)),
            pipeline=InputPipeline(10, None, lambda loaded, place: loaded, None, None),
        )
        params = {"w": jnp.zeros(())}
        state = run.programs.init().replace(
            params=params,
            batch_stats={},
            step=jnp.int32(step),
            optimizer=make_optimizer(run.config.sgd, 0.0).init(params),
        )
        after = make_programs(problem).train(
            state,
            batch,
            count=jnp.int32(1),
            learning_rates=jnp.zeros(1),
            drop_paths=jnp.full(1, drop),
        )
        return float(after.losses[0])

    return take


@pytest.mark.slow
def test_dropped_paths_change_with_step_seed_part_and_probability(losses):
    still = "data.pad=0"  # the images are the same in all steps
    assert losses(still) == losses(still, step=1) == losses(still, seed=1)
    distinct = {
        losses(still, drop=0.5),
        losses(still, drop=0.6),
        losses(still, drop=0.5, step=1),
        losses(still, drop=0.5, seed=1),
        losses(still, "accumulate=2", drop=0.5),
        losses(still),
    }
    assert len(distinct) == 6
    assert losses(still, drop=0.5) == losses(still, drop=0.5)
    # network.drop_path=0 compiles a program without draws, whatever the schedule says
    assert losses(still, "network.drop_path=0", drop=0.5) == losses(still)


def test_each_part_of_a_batch_draws_its_own_paths(losses):
    """Two equal parts lose as much as one of them only where both draw the same."""
    one_part = losses("data.pad=0", halves=1)
    two_parts = losses("data.pad=0", "accumulate=2")
    np.testing.assert_allclose(two_parts, one_part, rtol=1e-6)
    two_parts = losses("data.pad=0", "accumulate=2", drop=0.5)
    assert abs(two_parts - losses("data.pad=0", halves=1, drop=0.5)) > 1e-3


def test_crops_change_with_step_and_seed(losses):
    distinct = {losses(step=step, seed=seed) for step in (0, 1) for seed in (0, 1)}
    assert len(distinct) == 4
