"""Every candidate operation equals its torch counterpart, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egnas_jax.interop import primitive_from_torch
from egnas_jax.nn import lowering
from egnas_jax.nn.primitives import PRIMITIVES, source_of
from egnas_jax.space import PRIMITIVES as NAMES


def close(ours, theirs, tolerance):
    """Relative to the largest value, as the golden numbers state it."""
    scale = max(np.abs(theirs).max(), 1e-12)
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=tolerance)


def part(z, kind):
    return {n.removeprefix(kind): z[n] for n in z if n.startswith(kind)}


def one_edge(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def run(name, kernels, stride, params, stats, x, train):
    """An operation on torch's layout [N, C, H, W]."""
    state = jnp.transpose(x, (1, 2, 3, 0))[None]
    out, moved = PRIMITIVES[name].apply(
        params, stats, source_of(state), stride, train, kernels
    )
    return jnp.transpose(out.value()[0], (3, 0, 1, 2)), moved


# every implementation where there are several; in the others only the norms' are tried
CASES = [
    (name, way, affine)
    for name in NAMES
    for way in ("shifted", "grouped", "dense")
    for affine in ("affine", "plain")
    if way == "shifted"
    or (affine == "affine" and name.startswith(("sep_", "dil_")))
    or (affine == "affine" and "pool" in name and way == "grouped")
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name, way, affine", CASES)
def test_primitive_equals_torch(load_golden, name, way, affine, stride):
    z = load_golden(f"op_{name}_s{stride}_{affine}")
    params, stats = map(one_edge, primitive_from_torch(part(z, "w/"), name))
    x, kernels = jnp.asarray(z["x"]), lowering.LOWERINGS[way]

    @jax.jit
    def everything(params, x, cotangent):
        evaluated, _ = run(name, kernels, stride, params, stats, x, False)

        def trained(params, x):
            out, moved = run(name, kernels, stride, params, stats, x, True)
            return jnp.sum(out * cotangent), (out, moved)

        gradient = jax.grad(trained, argnums=(0, 1), has_aux=True)
        return evaluated, *gradient(params, x)

    evaluated, (g_params, g_x), (out, moved) = everything(params, x, z["cotangent"])
    close(evaluated, z["y_eval"], 1e-5)
    close(out, z["y_train"], 1e-5)
    close(g_x, z["g_x"], 1e-4)
    # gradients have no running statistics of their own: borrow the weights' buffers
    buffers = {n: v for n, v in part(z, "w/").items() if "running" in n}
    expected, _ = primitive_from_torch({**part(z, "g/"), **buffers}, name)
    jax.tree.map(lambda a, b: close(a[0], b, 1e-4), g_params, expected)
    weights = {n: v for n, v in part(z, "w/").items() if "running" not in n}
    _, after = primitive_from_torch({**weights, **part(z, "after/")}, name)
    jax.tree.map(lambda a, b: close(a[0], b, 1e-5), moved, after)
