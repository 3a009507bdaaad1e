"""Runs a network for a proxy, and reads or replaces what its layers compute.

A proxy sees a derived network and a cell of a supernet alike. In a supernet the cell is
a mixing whose rows are one-hot: what the cell lacks has weight 0, so its kernels have
no gradient, and it is left out of sums over layers.

Dims: E edges of a layer, N images.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from egnas_jax.nn import intermediates
from egnas_jax.nn.intermediates import Intermediate
from egnas_jax.nn.layers import EPSILON
from egnas_jax.nn.network import Network
from egnas_jax.nn.primitives import PRIMITIVES
from egnas_jax.nn.supernet import Supernet
from egnas_jax.space import SPACES
from egnas_jax.types import Array, Batch, Mixing, PyTree


class ProxyNetwork(NamedTuple):
    """A network as the proxies see it.

    Attributes:
      logits: (variables, images f32[N, H, W, C], train) -> f32[N, classes]. `train`:
        norms use the batch's statistics.
    """

    logits: Callable[[PyTree, Array, bool], Array]


def of_network(network: Network) -> ProxyNetwork:
    """A derived network as the proxies see it.

    Raises:
      ValueError: it has an auxiliary head, or primitives without layers of our own.
    """
    if network.config.auxiliary:
        raise ValueError(
            "network.auxiliary is True, but a proxy looks at the network without its "
            "auxiliary head: make it with NetworkConfig(auxiliary=False)."
        )
    genotype = network.genotype
    names = {name for kind in genotype.kinds for name, *_ in genotype.edges_of(kind)}
    _check_layers(names, "the genotype")

    def logits(variables: PyTree, images: Array, train: bool) -> Array:
        return network.apply(variables, images, train=train)[0]

    return ProxyNetwork(logits)


def of_mixing(net: Supernet, mixing: Mixing) -> ProxyNetwork:
    """A cell of a supernet as the proxies see it.

    Args:
      net: the supernet.
      mixing: one-hot rows of primitives; 1 for the edges that the cell has, else 0.

    Raises:
      ValueError: the space has primitives without layers of our own.
    """
    check_space(net.config.space)

    def logits(variables: PyTree, images: Array, train: bool) -> Array:
        return net.apply(variables, images, mixing, train=train)[0]

    return ProxyNetwork(logits)


def check_space(name: str) -> None:
    """Refuses a space whose layers the proxies cannot read.

    Args:
      name: a key of `SPACES`.

    Raises:
      ValueError: a primitive is a user's own function, whose kernels, ReLUs and norms
        are unknown.
    """
    _check_layers(SPACES[name].primitives, f"the space {name}")


def _check_layers(names, where) -> None:
    unknown = sorted(
        n for n in names if n in PRIMITIVES and PRIMITIVES[n].kernel is None
    )
    if unknown:
        raise ValueError(
            f"A proxy reads kernels, ReLUs and norms layer by layer, and {where} has "
            f"primitives of your own, whose layers are unknown: {', '.join(unknown)}. "
            f"Use a space of built-in primitives."
        )


def read_intermediates(
    network: ProxyNetwork, variables: PyTree, images: Array, *, train: bool
) -> list[Intermediate]:
    """The arrays that the layers expose (`nn.intermediates`), in their order."""
    readings: list[Intermediate] = []

    def read(one: Intermediate) -> Array:
        readings.append(one)
        return one.value

    with intermediates.read_by(read):
        network.logits(variables, images, train)
    return readings


def run_with(
    network: ProxyNetwork,
    variables: PyTree,
    images: Array,
    *,
    train: bool,
    replace: Callable[[Intermediate, Array], Array],
    arrays: dict[str, Sequence[Array]],
) -> Array:
    """Runs a network some of whose arrays are replaced.

    Args:
      network, variables, images, train: see `ProxyNetwork.logits`.
      replace: (what a layer passes, the next array of its site) -> its replacement.
      arrays: site -> an array for each one that layers expose at that site, in the
        order of `read_intermediates`.

    Returns:
      Logits f32[N, classes].
    """
    left = {site: iter(sequence) for site, sequence in arrays.items()}

    def read(one: Intermediate) -> Array:
        return replace(one, next(left[one.site])) if one.site in left else one.value

    with intermediates.read_by(read):
        return network.logits(variables, images, train)


def kernels_of(
    network: ProxyNetwork, variables: PyTree, images: Array, *, train: bool
) -> list[Intermediate]:
    """The kernels of all convolutions and linear layers, [E, ...] each."""
    readings = read_intermediates(network, variables, images, train=train)
    return [one for one in readings if one.site == intermediates.KERNEL]


def loss_of_kernels(
    network: ProxyNetwork, variables: PyTree, batch: Batch
) -> Callable[[Sequence[Array]], Array]:
    """The mean cross entropy of a batch as a function of the kernels.

    Norms use the batch's statistics, as in the first step of a training.
    """

    def loss(kernels: Sequence[Array]) -> Array:
        logits = run_with(
            network,
            variables,
            batch.images,
            train=True,
            replace=lambda one, kernel: kernel,
            arrays={intermediates.KERNEL: kernels},
        )
        return mean_cross_entropy(logits, batch.labels)

    return loss


def mean_cross_entropy(logits: Array, labels: Array) -> Array:
    """Mean cross entropy f32[] of logits [N, classes] and labels [N]."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses)


def without_norms(variables: PyTree) -> PyTree:
    """Variables whose norms pass their input on unchanged in evaluation.

    Biases become 0, of the classifier too.
    """

    def replace(path, leaf: Array) -> Array:
        name = path[-1].key
        if name in ("mean", "bias"):
            return jnp.zeros_like(leaf)
        if name == "var":
            return jnp.full_like(leaf, 1.0 - EPSILON)
        return jnp.ones_like(leaf) if name == "scale" else leaf

    return jax.tree.map_with_path(replace, variables)
