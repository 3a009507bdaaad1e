"""Brings the two input states of a cell to its channels and its image size.

Dims: C channels of the cell, C0, C1 channels of its inputs, H, W sides, N images.
"""

from egnas_jax.nn.cell_plan import CellPlan
from egnas_jax.nn.layers import init_conv_norm, relu_conv_norm, relu_factorized_reduce
from egnas_jax.types import Array, PyTree


def init_cell_inputs(plan: CellPlan, affine: bool) -> tuple[PyTree, PyTree]:
    """Leaves of both preprocessings: parameters and batch_stats, {"s0", "s1"}."""
    leaves = {
        name: init_conv_norm(1, fan_in, plan.channels, affine)
        for name, fan_in in zip(("s0", "s1"), plan.inputs, strict=True)
    }
    params = {name: params for name, (params, _) in leaves.items()}
    return params, {name: stats for name, (_, stats) in leaves.items()}


def preprocess_inputs(
    plan: CellPlan,
    variables: tuple[PyTree, PyTree],
    older: Array,
    newer: Array,
    *,
    train: bool,
) -> tuple[tuple[Array, Array], PyTree]:
    """Preprocesses the outputs of the two cells before a cell.

    Args:
      plan: the cell.
      variables: parameters and batch_stats, arrays that `init_cell_inputs` describes.
      older: [C0, H, W, N], or [C0, 2 H, 2 W, N] behind a reduction.
      newer: [C1, H, W, N].
      train: whether norms use the batch's statistics and update the running ones.

    Returns:
      Both inputs, [C, H, W, N], and the new batch_stats.
    """
    params, stats = variables
    first = relu_factorized_reduce if plan.reduced_before else relu_conv_norm
    s0, s0_stats = first(params["s0"], stats["s0"], older[None], train)
    s1, s1_stats = relu_conv_norm(params["s1"], stats["s1"], newer[None], train)
    return (s0[0], s1[0]), {"s0": s0_stats, "s1": s1_stats}
