"""The network of a NAS-Bench-201 cell in plain JAX, as an oracle of the proxies.

It shares no layer with the package: images are [N, H, W, C], kernels are lists by
layer, edges are computed one by one, and what the proxies read is returned.
"""

import jax.numpy as jnp
from jax import lax

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SIDES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
# the edges that leave each node, in the order in which the supernet stacks them
LEAVING = ((0, 1, 3), (2, 4), (5,))


def kernels_of_cell(params, names):
    """Kernels of the stand-alone network of a cell, cut out of a supernet's.

    Returns:
      {layer: kernel [O, I, h, w]}, and the classifier's [classes, features] and bias.
    """
    kernels = {"stem": params["stem"]["conv"]}
    for stage, cells in enumerate(params["stages"]):
        for edge, name in enumerate(names):
            if name not in SIDES:
                continue
            source = EDGES[edge][0]
            stacked = cells[source][name]["conv"]  # [cells, edges, O, I, h, w]
            for cell in range(len(stacked)):
                kernel = stacked[cell, LEAVING[source].index(edge)]
                kernels[f"{stage} {cell} {edge}"] = kernel
    for number, block in enumerate(params["blocks"], start=1):
        for part in ("first", "second", "shortcut"):
            kernels[f"{number} {part}"] = block[part]
    kernels["classifier"] = params["classifier"]["kernel"]
    return kernels, params["classifier"]["bias"]


def forward(names, kernels, bias, images, *, norms=True, factors=None):
    """Logits, and lists of what layers compute.

    Args:
      names: primitive of each edge.
      kernels, bias: of `kernels_of_cell`.
      images: [N, H, W, C].
      norms: whether norms by the batch's statistics are there at all.
      factors: layer -> [N, channels], multiplied to its output; None: ones.

    Returns:
      Logits [N, classes], and {"relu", "output", "variance", "features"}.
    """
    seen = {"relu": [], "output": {}, "variance": []}

    def convolve(layer, x, stride=1):
        side = kernels[layer].shape[-1]
        y = lax.conv_general_dilated(
            x,
            jnp.transpose(kernels[layer], (2, 3, 1, 0)),
            (stride, stride),
            [(side // 2, side // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        seen["output"][layer] = y
        return y if factors is None else y * factors[layer][:, None, None]

    def norm(x):
        if not norms:
            return x
        mean = x.mean(axis=(0, 1, 2), keepdims=True)
        var = ((x - mean) ** 2).mean(axis=(0, 1, 2), keepdims=True)
        seen["variance"].append(var.ravel())
        return (x - mean) / jnp.sqrt(var + 1e-5)

    def relu(x):
        seen["relu"].append(x)
        return jnp.where(x > 0, x, 0.0)

    def edge_output(layer, name, x):
        if name == "none":
            return jnp.zeros_like(x)
        if name == "skip_connect":
            return x
        if name == "avg_pool_3x3":
            window = (1, 3, 3, 1), (1, 1, 1, 1), [(0, 0), (1, 1), (1, 1), (0, 0)]
            total = lax.reduce_window(x, 0.0, lax.add, *window)
            count = lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)
            return total / count
        return norm(convolve(layer, relu(x)))

    x = norm(convolve("stem", images))
    cells = (
        max(int(layer.split()[1]) for layer in (*kernels, "0 0 0") if layer[0] == "0")
        + 1
    )
    for stage in range(3):
        if stage:
            y = norm(convolve(f"{stage} first", relu(x), 2))
            y = norm(convolve(f"{stage} second", relu(y)))
            count, height, width, channels = x.shape
            squares = x.reshape(count, height // 2, 2, width // 2, 2, channels)
            x = y + convolve(f"{stage} shortcut", squares.mean(axis=(2, 4)))
        for cell in range(cells):
            nodes = [x, 0.0, 0.0, 0.0]
            for edge, (source, target) in enumerate(EDGES):
                layer = f"{stage} {cell} {edge}"
                nodes[target] += edge_output(layer, names[edge], nodes[source])
            x = nodes[3]
    seen["features"] = relu(norm(x))
    pooled = seen["features"].mean(axis=(1, 2))
    logits = pooled @ kernels["classifier"].T + bias[None]
    seen["output"]["classifier"] = logits
    return logits if factors is None else logits * factors["classifier"], seen
