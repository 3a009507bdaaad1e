"""One exploration equals the reference's, number by number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import egnas_jax
from egnas_jax import EGNASConfig, interop
from egnas_jax.nn import lowering


@pytest.fixture(scope="module")
def exploration(load_golden_supernet):
    z, config, weights = load_golden_supernet("explore_k2_c8_l3")
    net = egnas_jax.make_supernet(config)
    alpha = {kind: jnp.asarray(z[f"alpha_{kind}"]) for kind in ("normal", "reduce")}
    images = jnp.transpose(jnp.asarray(z["x"]), (0, 2, 3, 1))
    labels = jnp.asarray(z["y"], jnp.int32)
    variables = interop.supernet_from_torch(weights, config)
    return z, net, variables, alpha, images, labels


@pytest.mark.slow
def test_the_fitness_equals_the_official_codes(exploration):
    z, net, variables, alpha, images, labels = exploration

    @lambda f: jax.jit(f, compiler_options=lowering.compiler_options())
    def run(variables, alpha, candidates):
        options = EGNASConfig.variant("official")
        return egnas_jax.evaluate_fitness(
            net, variables, alpha, candidates, images, labels, options
        )

    evaluated = run(variables, alpha, jnp.asarray(z["z"], jnp.float32))
    np.testing.assert_allclose(evaluated.cross_entropy, z["cross_entropy"], rtol=1e-4)
    np.testing.assert_array_equal(evaluated.correct, z["correct"])
    assert evaluated.correct_current == z["correct_current"]
    np.testing.assert_allclose(evaluated.similarity, z["similarity"], atol=1e-6)
    np.testing.assert_allclose(evaluated.fitness, z["fitness"], rtol=1e-4)
    assert evaluated.winner == z["winner"]
    winner = jnp.asarray(z["z"], jnp.float32)[evaluated.winner]
    official = EGNASConfig.variant("official")
    direction = egnas_jax.egnas_step_direction(winner, alpha, official)
    for i, kind in enumerate(("normal", "reduce")):
        np.testing.assert_allclose(direction[kind], z["step_direction"][i], atol=1e-6)
