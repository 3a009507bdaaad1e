"""One exploration equals the reference's, number by number."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax
from egnas_jax import EGNASConfig, SupernetConfig, interop
from egnas_jax.nn import lowering


@pytest.fixture(scope="module")
def exploration(load_golden):
    z = load_golden("explore_k2_c8_l3")
    given = json.loads(str(z["config"]))
    config = SupernetConfig(
        channels=given["channels"],
        layers=given["layers"],
        num_classes=given["classes"],
        partial_channels=given["partial"],
    )
    weights = {n[2:]: z[n] for n in z if n.startswith("w/")}
    net = egnas_jax.make_supernet(config)
    alpha = {kind: jnp.asarray(z[f"alpha_{kind}"]) for kind in ("normal", "reduce")}
    images = jnp.transpose(jnp.asarray(z["x"]), (0, 2, 3, 1))
    labels = jnp.asarray(z["y"], jnp.int32)
    variables = interop.supernet_from_torch(weights, config)
    return z, net, variables, alpha, images, labels


def test_price_equals_the_reference(exploration):
    z, net, variables, alpha, images, labels = exploration

    @lambda f: jax.jit(f, compiler_options=lowering.compiler_options())
    def run(variables, alpha, candidates):
        options = EGNASConfig.variant("official")
        return egnas_jax.price(
            net, variables, alpha, candidates, images, labels, options
        )

    priced = run(variables, alpha, jnp.asarray(z["z"], jnp.float32))
    np.testing.assert_allclose(priced.cross_entropy, z["cross_entropy"], rtol=1e-4)
    np.testing.assert_array_equal(priced.correct, z["correct"])
    assert priced.correct_current == z["correct_current"]
    np.testing.assert_allclose(priced.similarity, z["similarity"], atol=1e-6)
    np.testing.assert_allclose(priced.fitness, z["fitness"], rtol=1e-4)
    assert priced.winner == z["winner"]
    for i, kind in enumerate(("normal", "reduce")):
        np.testing.assert_allclose(
            priced.direction[kind], z["step_direction"][i], atol=1e-6
        )


def test_evaluation_depends_neither_on_chunks_nor_on_neighbours(exploration):
    _, net, variables, alpha, images, labels = exploration
    rows = jax.random.normal(jax.random.key(0), (5, 2, 14, 7))
    mixings = egnas_jax.softmax_mixing({"normal": rows[:, 0], "reduce": rows[:, 1]})

    def evaluate(members, **chunks):
        chosen = jax.tree.map(lambda leaf: leaf[jnp.asarray(members)], mixings)
        return egnas_jax.evaluate_population(
            net, variables, chosen, images, labels, **chunks
        )

    whole = evaluate([0, 1, 2, 3, 4])
    order = [3, 1]
    for other in (evaluate(order), evaluate(order, population_chunk=2, image_chunk=24)):
        np.testing.assert_array_equal(other.correct, whole.correct[jnp.asarray(order)])
        np.testing.assert_allclose(
            other.loss, whole.loss[jnp.asarray(order)], rtol=1e-5
        )
    np.testing.assert_allclose(whole.accuracy, whole.correct / len(labels))
    inside = jax.jit(
        lambda m: egnas_jax.evaluate_population(net, variables, m, images, labels)
    )(mixings)
    np.testing.assert_array_equal(inside.correct, whole.correct)


def test_batch_statistics_cannot_be_split(exploration):
    _, net, variables, alpha, images, labels = exploration
    one = jax.tree.map(lambda leaf: leaf[None], egnas_jax.softmax_mixing(alpha))
    with pytest.raises(ValueError, match="image_chunk is 8"):
        egnas_jax.evaluate_population(
            net, variables, one, images, labels, image_chunk=8, batch_stats="batch"
        )
