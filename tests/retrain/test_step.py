"""One weight step by other means, and what its options do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from egnas_jax.nn import lowering
from egnas_jax.retrain.input_pipeline import Feed
from egnas_jax.retrain.step import (
    _cross_entropy,
    _loss,
    make_optimizer,
    make_programs,
    weight_step,
)
from egnas_jax.training.sgd import Pixels

IMAGES = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
LABELS = jnp.arange(8, dtype=jnp.int32)


@pytest.fixture(scope="module")
def step(tiny):
    """(changed settings) -> the state before and after one step."""

    def take(*overrides, images=IMAGES, labels=LABELS):
        config, run, _ = tiny("batch_size=8", *overrides)
        state = run.programs.init()
        moved = jax.jit(
            lambda state: weight_step(
                run.net, config, state, images, labels, 0.1, 0.0, 2, 0
            ),
            compiler_options=lowering.compiler_options(),
        )(state)
        return config, run, state, moved

    return take


def test_a_step_is_clipped_sgd_with_decay(step):
    """Torch's rule, written out: g = clip(grad) + decay w; w - rate g at first."""
    config, run, state, moved = step(
        "clip_norm=0.5", "weight_decay=0.01", "network.drop_path=0"
    )

    def loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits = run.net.apply(variables, IMAGES, train=True)[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(state.params)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    assert norm > 0.5
    expected = jax.tree.map(
        lambda w, g: w - 0.1 * (g * (0.5 / norm) + 0.01 * w), state.params, gradient
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), moved.params, expected
    )
    np.testing.assert_allclose(moved.losses, [0, 0, value, 0], rtol=1e-5)
    assert moved.step == 1 and moved.correct.shape == (config.epochs,)


def test_a_batch_in_parts_averages_the_gradients_of_its_parts(step):
    plain = "network.drop_path=0", "weight_decay=0", "clip_norm=1e9"
    *_, state, whole = step(*plain, "accumulate=2")

    def change(moved):
        return jax.tree.map(jnp.subtract, moved.params, state.params)

    halves = [
        change(step(*plain, images=IMAGES[part], labels=LABELS[part])[-1])
        for part in (slice(4), slice(4, 8))
    ]
    jax.tree.map(
        lambda found, a, b: np.testing.assert_allclose(found, (a + b) / 2, atol=1e-6),
        change(whole),
        *halves,
    )


def test_smoothed_labels_by_hand(tiny):
    config, _, _ = tiny()
    config = dataclasses.replace(config, label_smoothing=0.1)
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    found = _cross_entropy(config, logits, jnp.array([0]))
    by_hand = -(0.9 + 0.1 / 3) * np.log(0.7) - 0.1 / 3 * (np.log(0.2) + np.log(0.1))
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)


def test_the_auxiliary_loss_counts_by_its_weight_and_is_not_recorded(tiny):
    config, run, _ = tiny("auxiliary_weight=0.4")
    own, head = jnp.log(jnp.array([[[0.7, 0.3]], [[0.2, 0.8]]]))
    net = run.net._replace(apply=lambda *given, **options: (own, head, {}))
    labels, key = jnp.array([0]), jax.random.key(0)
    loss = _loss(net, config, {}, IMAGES[:1], labels, key, 0.0)
    total, (_, recorded, hits) = loss({})
    np.testing.assert_allclose(total, -np.log(0.7) - 0.4 * np.log(0.2), rtol=1e-6)
    np.testing.assert_allclose(recorded, -np.log(0.7), rtol=1e-6)
    assert hits == 1


def test_bfloat16_takes_nearly_the_same_step_and_keeps_f32(step):
    plain = "network.drop_path=0", "weight_decay=0"
    _, _, state, exact = step(*plain)
    _, _, _, short = step(*plain, "precision=bfloat16")
    for name in ("params", "batch_stats", "optimizer"):
        kinds = {leaf.dtype.name for leaf in jax.tree.leaves(getattr(short, name))}
        assert kinds == {"float32"}
    changes = [
        np.concatenate(
            [
                np.ravel(after - before)
                for after, before in zip(
                    jax.tree.leaves(moved.params),
                    jax.tree.leaves(state.params),
                    strict=True,
                )
            ]
        )
        for moved in (exact, short)
    ]
    cosine = np.dot(*changes) / np.prod([np.linalg.norm(c) for c in changes])
    # 8 bits of mantissa: near, but not the same
    assert 0.98 < cosine < 0.999999


@pytest.fixture(scope="module")
def losses(tiny):
    """Loss of one step of a stand-in whose logits show what it is given.

    They are the mean pixel of each image and what its key draws, times the probability
    of dropping; batches, weights and learning rate are always the same.
    """
    images = jnp.arange(4 * 64, dtype=jnp.uint32).reshape(4, 8, 8, 1) * 37 % 251
    half = Pixels(images.astype(jnp.uint8), LABELS[:4] % 2)

    def apply(variables, images, *, train, key, drop_path):
        drawn = jax.random.normal(key, (len(images),))
        shown = jnp.mean(images, (1, 2, 3)) + drop_path * drawn
        logits = jnp.stack([shown, variables["params"]["w"] - shown], axis=-1)
        return logits, None, {}

    def take(*overrides, step=0, drop=0.0, seed=0, halves=2):
        config, run, _ = tiny("batch_size=8", f"seed={seed}", *overrides)
        batch = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * halves), half)
        feed = Feed(10, None, lambda chunk, place: chunk, lambda: None)
        net = run.net._replace(apply=apply)
        programs = make_programs(net, config, feed, (8, 8, 1), ((0.5,), (0.2,)))
        params = {"w": jnp.zeros(())}
        state = run.programs.init()._replace(
            params=params,
            batch_stats={},
            step=jnp.int32(step),
            optimizer=make_optimizer(config.sgd, 0.0).init(params),
        )
        scalars = jnp.zeros(1), jnp.full(1, drop)
        return float(programs.train(state, batch, jnp.int32(1), *scalars).losses[0])

    return take


def test_what_is_dropped_changes_with_step_seed_part_and_probability(losses):
    still = "data.pad=0"  # the images are the same in all steps
    assert losses(still) == losses(still, step=1) == losses(still, seed=1)
    dropped = {
        losses(still, drop=0.5),
        losses(still, drop=0.6),
        losses(still, drop=0.5, step=1),
        losses(still, drop=0.5, seed=1),
        losses(still, "accumulate=2", drop=0.5),
        losses(still),
    }
    assert len(dropped) == 6
    assert losses(still, drop=0.5) == losses(still, drop=0.5)
    # the setting of none is a program without draws, whatever the schedule says
    assert losses(still, "network.drop_path=0", drop=0.5) == losses(still)


def test_parts_of_a_batch_draw_each_their_own(losses):
    """Two equal parts lose as much as one of them where both draw the same."""
    one = losses("data.pad=0", halves=1)
    np.testing.assert_allclose(losses("data.pad=0", "accumulate=2"), one, rtol=1e-6)
    both = losses("data.pad=0", "accumulate=2", drop=0.5)
    assert abs(both - losses("data.pad=0", halves=1, drop=0.5)) > 1e-3


def test_crops_change_with_step_and_seed(losses):
    assert (
        len({losses(step=step, seed=seed) for step in (0, 1) for seed in (0, 1)}) == 4
    )
