"""What devices exchange in a search: `python -m benchmarks.scaling`.

Nothing is run: the program of a weight step is traced for eight devices and its
exchanges are counted, those in a loop as often as it turns. The table that follows from
them for more devices is arithmetic.

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
EXCHANGES = ("psum", "all_gather")


def exchanges(jaxpr, times: int = 1) -> collections.Counter:
    """(primitive, bytes that a device gives) -> how often, in a jaxpr."""
    found = collections.Counter()
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in EXCHANGES:
            for given in equation.invars:
                size = math.prod(given.aval.shape) * given.aval.dtype.itemsize
                found[name, size] += times
            continue
        turns = times * equation.params.get("length", 1) if name == "scan" else times
        inner = [exchanges(part, turns) for part in _inside(equation.params)]
        if name == "cond" and inner:  # every device takes the same branch
            inner = [max(inner, key=lambda part: sum(part.values()))]
        for part in inner:
            found += part
    return found


def _inside(params: dict):
    """Programs that an equation holds."""
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            part = getattr(part, "jaxpr", part)  # of a closed one
            if hasattr(part, "eqns"):
                yield part


def weight_step(config: SearchConfig) -> collections.Counter:
    """Exchanges of one weight step of 32x32 images."""
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
    return exchanges(jax.make_jaxpr(step)(*arguments).jaxpr)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", TRACED)
    config = search_config("cifar10")
    found = weight_step(config)
    norms = sum(n for (name, _), n in found.items() if name == "all_gather")
    for name in EXCHANGES:
        number = sum(n for (own, _), n in found.items() if own == name)
        given = sum(size * n for (own, size), n in found.items() if own == name)
        print(f"{name}: {number} a weight step, {given:,} bytes given by a device")
    print(f"batch norms: {norms}")
    individuals = config.strategy.individuals
    print("devices | images of one | individuals of one | speed-up of pricing, at most")
    for devices in (8, 16, 32, 64, 128, 256):
        own = -(-individuals // devices)
        gain = individuals / own
        print(
            f"{devices:>7} | {config.batch_size / devices:>13g} | {own:>18} | "
            f"{gain:.1f} ({gain / devices:.0%})"
        )


if __name__ == "__main__":
    main()
