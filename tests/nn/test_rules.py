"""The rules of a backend change how something is computed, but not the result.

tests/nn/test_lowering.py compares windows and their gradients under the rules of a CPU
and of a GPU.
"""

import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.nn import darts_supernet, layers, lowering
from egnas_jax.nn.lowering import RULES
from egnas_jax.nn.runs_of_cells import run_cells
from egnas_jax.training import sgd

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def operations_of(function, *arguments):
    """The names of the operations in a lowered program."""
    return jax.jit(function).lower(*arguments).as_text()


def test_only_few_channels_are_summed_one_by_one():
    most = RULES["gpu"].summed_channels
    for channels, outputs, products in ((most, most, 0), (most + 1, 1, 1), (1, 17, 1)):
        text = operations_of(
            lambda x, kernel: lowering.pointwise(x, kernel, RULES["gpu"]),
            normal(1, channels, 2, 2, 1),
            normal(1, outputs, channels),
        )
        assert text.count("dot_general") == products


@pytest.mark.parametrize("batched_kernel", [True, False])
def test_products_of_a_population_need_no_transposes_on_a_gpu(batched_kernel):
    x, kernel = normal(5, 2, 17, 2, 3, 2), normal(*(5,) * batched_kernel, 2, 4, 17)
    run, counts = {}, {}
    for backend in ("cpu", "gpu"):
        run[backend] = jax.vmap(
            lambda x, kernel, rules=RULES[backend]: lowering.pointwise(
                x, kernel, rules
            ),
            in_axes=(0, 0 if batched_kernel else None),
        )
        text = operations_of(run[backend], x, kernel)
        counts[backend] = text.count("stablehlo.transpose")
    assert counts["gpu"] == 0 and (batched_kernel or counts["cpu"] > 0)
    np.testing.assert_allclose(
        run["gpu"](x, kernel), run["cpu"](x, kernel), rtol=1e-4, atol=1e-5
    )


def test_a_cpu_stores_padding_and_a_gpu_does_not():
    for backend, barriers in (("cpu", 1), ("gpu", 0), ("tpu", 1)):
        text = operations_of(
            lambda x, rules=RULES[backend]: lowering.pad_sides(x, 1, rules=rules),
            normal(1, 1, 2, 2, 1),
        )
        assert text.count("optimization_barrier") == barriers


def test_gradients_of_depthwise_convolutions_loop_only_on_a_cpu():
    x, kernel = normal(1, 2, 5, 5, 2), normal(3, 2, 3, 3)
    for backend, loops in (("cpu", True), ("gpu", False), ("tpu", False)):

        def gradient(x, kernel, rules=RULES[backend]):
            def total(x, kernel):
                return lowering.depthwise(x, kernel, rules=rules).sum()

            return jax.grad(total, argnums=(0, 1))(x, kernel)

        assert ("stablehlo.while" in operations_of(gradient, x, kernel)) == loops


@pytest.mark.parametrize("backend, barriers", [("cpu", 0), ("gpu", 2), ("tpu", 2)])
def test_kernel_gradients_of_one_state_have_barriers_of_their_own_but_on_a_cpu(
    backend, barriers
):
    """One barrier for each primitive holds the state and what is its own."""
    x, kernels = normal(1, 2, 4, 4, 2), (normal(3, 2, 3, 3), normal(3, 2, 5, 5))

    def gradient(kernels):
        def total(kernels):
            outputs = (
                lowering.depthwise(x, kernel, rules=RULES[backend])
                for kernel in kernels
            )
            return sum((out**2).sum() for out in outputs)

        return jax.grad(total)(kernels)

    text = operations_of(gradient, kernels)
    joint = [
        line
        for line in text.splitlines()
        if "optimization_barrier" in line and "tensor<3x" in line and "<1x" in line
    ]
    assert len(joint) == barriers


def test_sums_over_pixels_equal_those_in_double_precision():
    terms = [normal(2, 3, 4, 5, 6) for _ in range(3)]
    expected = [np.float64(term).sum((-3, -2, -1)) for term in terms]
    # 120 values of about 1 are rounded at each addition.
    np.testing.assert_allclose(lowering.sum_pixels(*terms), expected, atol=1e-5)


def test_sums_over_pixels_have_gradients_of_every_order():
    a, b, weight = normal(3, 2, 2, 2), normal(3, 2, 2, 2), normal(3)

    def total(a):
        first, second = lowering.sum_pixels(a**3, a * b)
        return jnp.sum(weight * first * second)

    def plainly(a):
        axes = (-3, -2, -1)
        return jnp.sum(weight * (a**3).sum(axes) * (a * b).sum(axes))

    for order in (jax.grad, jax.hessian):
        np.testing.assert_allclose(
            order(total)(a), order(plainly)(a), rtol=1e-4, atol=1e-4
        )


def moments_by_definition(x):
    x = np.float64(x)
    return x.mean((-3, -2, -1)), x.var((-3, -2, -1))


@pytest.mark.parametrize("mean", [0.0, 1e3, -1e4])
def test_moments_in_one_pass_are_exact_at_a_large_mean(mean):
    """Sums of plain squares would lose all digits of the variance at 1e4."""
    x = normal(2, 3, 8, 8, 16) + mean
    actual = layers.moments(x, RULES["gpu"])
    for own, expected in zip(actual, moments_by_definition(x), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


def test_the_variance_of_equal_values_is_zero():
    mean, var = layers.moments(jnp.full((1, 1, 3, 3, 7), 12345.678), RULES["gpu"])
    assert (mean.item(), var.item()) == (np.float32(12345.678), 0.0)


def test_moments_in_one_pass_have_the_gradient_of_those_in_two():
    x, weights = normal(2, 3, 4, 5, 6), normal(2, 2, 3)

    def gradient(rules):
        return jax.grad(
            lambda x: jnp.vdot(weights, jnp.stack(layers.moments(x, rules)))
        )

    np.testing.assert_allclose(
        gradient(RULES["gpu"])(x), gradient(RULES["cpu"])(x), rtol=1e-4, atol=1e-7
    )


def test_bfloat16_channels_and_pixels_are_summed_in_float32():
    """A sum of ones that is accumulated in bfloat16 stops at 256."""
    x = jnp.ones((1, 2, 1, 1, 257), jnp.bfloat16)
    kernel = jnp.asarray([[[256.0, 8.0]]])
    out = lowering.pointwise(x, kernel, RULES["gpu"])
    assert out.dtype == jnp.bfloat16 and (out == 264.0).all()

    def total(kernel, operation):
        return jnp.sum(operation(x, kernel, rules=RULES["gpu"]).astype(jnp.float32))

    for operation, shape in (
        (lowering.pointwise, (1, 1, 2)),
        (lowering.depthwise, (1, 2, 1, 1)),
    ):
        assert (jax.grad(total)(jnp.ones(shape), operation) == 257.0).all()
    assert layers.moments(x, RULES["gpu"])[0].dtype == jnp.float32


def test_a_backend_is_assumed_in_one_thread_and_for_a_while():
    seen = []
    with pytest.raises(ZeroDivisionError), lowering.assume_backend("tpu"):
        thread = threading.Thread(target=lambda: seen.append(lowering.rules_for()))
        thread.start()
        thread.join()
        seen.append(lowering.rules_for())
        raise ZeroDivisionError
    seen.append(lowering.rules_for())
    assert seen == [RULES["cpu"], RULES["tpu"], RULES["cpu"]]


def test_an_assumed_backend_selects_kernels_too():
    with lowering.assume_backend("gpu"):
        assert lowering.kernels_for("auto", True, 4) == lowering.TABLE["gpu"]["train"]


def test_an_unknown_backend_has_the_rules_of_a_gpu():
    with lowering.assume_backend("another"):
        assert lowering.rules_for() == RULES["gpu"]


def test_a_gpu_clips_gradients_as_one_vector():
    gradients = {"a": normal(3, 4), "b": (normal(5), normal(2, 1, 2)), "c": {}}
    norm = np.sqrt(
        sum(np.square(np.float64(g)).sum() for g in jax.tree.leaves(gradients))
    )
    for limit in (norm / 3, 2 * norm):
        for backend, sums in (("cpu", 3), ("gpu", 1)):
            with lowering.assume_backend(backend):
                clipped = sgd.clip(gradients, limit)
                text = operations_of(
                    lambda g, limit=limit: sgd.clip(g, limit), gradients
                )
            scale = min(1, limit / norm)
            expected = jax.tree.map(lambda g, scale=scale: scale * g, gradients)
            chex.assert_trees_all_close(clipped, expected, rtol=1e-6)
            assert text.count("stablehlo.reduce") == sums


def toy_cell(states, arrays):
    """A cell of one weight, whose batch_stats are the sum of its output."""
    weight, _, index = arrays
    out = jnp.sin(weight * states[1] + states[0]) + index
    return (states[1], out), {"sum": out.sum()}


def test_cells_of_a_network_give_the_same_in_a_loop_and_without():
    states, arrays = (normal(3), normal(3)), (normal(4), jnp.zeros(4), jnp.arange(4.0))
    looped = run_cells(toy_cell, states, arrays, looped=True)
    unrolled = run_cells(toy_cell, states, arrays, looped=False)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), looped, unrolled
    )
    assert unrolled[1]["sum"].shape == (4,)


@pytest.mark.parametrize("backend, loops", [("cpu", 2), ("gpu", 0)])
def test_only_a_cpu_trains_equal_cells_in_a_loop(backend, loops):
    """The groups of eight cells are 2, 1, 2, 1 and 2; the first has no loop."""
    sizes = (2, 1, 2, 1, 2)
    with lowering.assume_backend(backend):
        trained = [
            darts_supernet._is_scanned(size, position, train=True, many_mixings=False)
            for position, size in enumerate(sizes)
        ]
        evaluated = darts_supernet._is_scanned(2, 2, train=False, many_mixings=True)
    assert (sum(trained), evaluated) == (loops, True)
