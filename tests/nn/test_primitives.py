"""Every candidate operation and its gradients equal those of torch."""

import jax
import jax.numpy as jnp
import pytest

from egnas_jax.interop import primitive_from_torch
from egnas_jax.nn import lowering
from egnas_jax.nn.primitive import source_of
from egnas_jax.nn.primitives import kernel_of
from egnas_jax.space import DARTS_PRIMITIVES as NAMES


def with_prefix(arrays, prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def add_edge_axis(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def drop_edge_axis(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def apply_to_images(name, params, stats, x, **options):
    """Applies an operation to images in the layout of torch, [N, C, H, W]."""
    source = source_of(jnp.transpose(x, (1, 2, 3, 0))[None])
    out, new_stats = kernel_of(name).apply(params, stats, source, **options)
    return jnp.transpose(out.value()[0], (3, 0, 1, 2)), new_stats


# All implementations of an operation that has several, and norms with and without
# scale and shift in one implementation. Slow are those that a CPU does not choose, and
# the norms of retraining.
CASES = [
    pytest.param(
        name,
        way,
        affine,
        marks=() if (way, affine) == ("shifted", "plain") else pytest.mark.slow,
    )
    for name in NAMES
    for way in ("shifted", "grouped", "dense")
    for affine in ("affine", "plain")
    if way == "shifted"
    or (affine == "affine" and name.startswith(("sep_", "dil_")))
    or (affine == "affine" and "pool" in name and way == "grouped")
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name, way, affine", CASES)
def test_primitive_equals_torch(load_golden, name, way, affine, stride, assert_close):
    golden = load_golden(f"op_{name}_s{stride}_{affine}")
    weights = with_prefix(golden, "w/")
    params, stats = map(add_edge_axis, primitive_from_torch(weights, name))
    options = {"stride": stride, "kernels": lowering.LOWERINGS[way]}

    @jax.jit
    def run(params, x, cotangent):
        evaluated, _ = apply_to_images(name, params, stats, x, train=False, **options)

        def loss(params, x):
            out, new_stats = apply_to_images(
                name, params, stats, x, train=True, **options
            )
            return jnp.sum(out * cotangent), (out, new_stats)

        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return evaluated, *gradient(params, x)

    evaluated, (of_params, of_x), (out, new_stats) = run(
        params, jnp.asarray(golden["x"]), golden["cotangent"]
    )
    assert_close(evaluated, golden["y_eval"])
    assert_close(out, golden["y_train"])
    assert_close(of_x, golden["g_x"], 1e-4)
    # The conversion asks for running statistics, which gradients do not have.
    running = {n: value for n, value in weights.items() if "running" in n}
    expected, _ = primitive_from_torch(with_prefix(golden, "g/") | running, name)
    assert_close(drop_edge_axis(of_params), expected, 1e-4)
    trained = {n: value for n, value in weights.items() if "running" not in n}
    after = trained | with_prefix(golden, "after/")
    _, expected_stats = primitive_from_torch(after, name)
    assert_close(drop_edge_axis(new_stats), expected_stats)
