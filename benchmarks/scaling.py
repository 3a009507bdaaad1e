"""Counts the collectives of a search on many devices: `python -m benchmarks.scaling`.

Nothing is run. The program of a weight step is traced for eight devices and its
collectives are counted, those of a loop once per iteration. The table for more devices
follows by arithmetic.

Dims: N images of a batch, P individuals, S devices.
"""

import collections
import math

import jax

from egnas_jax.nn.supernet import make_supernet
from egnas_jax.runs.search_config import SearchConfig, search_config
from egnas_jax.search.gradients import batch_gradients
from egnas_jax.search.relax import softmax_mixing, unflatten
from egnas_jax.space import SPACES
from egnas_jax.training.devices import make_mesh
from egnas_jax.types import Batch

TRACED = 8  # devices
COLLECTIVES = ("psum", "all_gather")


def collectives(jaxpr, times: int = 1) -> collections.Counter:
    """Counts (primitive, bytes that a device contributes) in a jaxpr."""
    counts = collections.Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in COLLECTIVES:
            for operand in equation.invars:
                size = math.prod(operand.aval.shape) * operand.aval.dtype.itemsize
                counts[name, size] += times
            continue
        runs = times * equation.params.get("length", 1) if name == "scan" else times
        inner = [collectives(part, runs) for part in _inner_jaxprs(equation.params)]
        if name == "cond" and inner:  # every device takes the same branch
            inner = [max(inner, key=lambda part: sum(part.values()))]
        for part in inner:
            counts += part
    return counts


def _inner_jaxprs(params: dict):
    """Yields the jaxprs among the parameters of an equation."""
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            part = getattr(part, "jaxpr", part)  # a ClosedJaxpr holds one
            if hasattr(part, "eqns"):
                yield part


def weight_step(config: SearchConfig) -> collections.Counter:
    """Collectives of one weight step on 32x32 images."""
    net = make_supernet(config.supernet)._replace(mesh=make_mesh(TRACED))
    size, space = config.batch_size, SPACES[config.supernet.space]

    def network(params, stats, mixing):
        return {"params": params, "batch_stats": stats}, mixing

    def step(variables, alpha, images, labels):
        mixing = softmax_mixing(unflatten(space, alpha))
        batch, stats = Batch(images, labels), variables["batch_stats"]
        return batch_gradients(net, network, variables["params"], batch, stats, mixing)

    arguments = (
        jax.eval_shape(lambda: net.init(jax.random.key(0))),
        jax.ShapeDtypeStruct((space.dim,), "float32"),
        jax.ShapeDtypeStruct((size, 32, 32, 3), "float32"),
        jax.ShapeDtypeStruct((size,), "int32"),
    )
    return collectives(jax.make_jaxpr(step)(*arguments).jaxpr)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", TRACED)
    config = search_config("cifar10")
    counts = weight_step(config)
    for name in COLLECTIVES:
        sizes = {size: n for (other, size), n in counts.items() if other == name}
        total = sum(size * n for size, n in sizes.items())
        print(f"{name}: {sum(sizes.values())} per weight step, {total:,} bytes sent")
    individuals = config.strategy.individuals
    print("devices | images each | individuals each | speed-up of evaluation, at most")
    for devices in (8, 16, 32, 64, 128, 256):
        share = -(-individuals // devices)
        gain = individuals / share
        print(
            f"{devices:>7} | {config.batch_size / devices:>11g} | {share:>16} | "
            f"{gain:.1f} ({gain / devices:.0%})"
        )


if __name__ == "__main__":
    main()
