"""Wraps the derived network and the supernet as Flax modules.

Both modules run the pure functions of `make_network` and `make_supernet`. Everything
that works on a `flax.linen.Module` therefore works on a searched cell: `TrainState`,
`tabulate`, `mutable=["batch_stats"]` and any Flax training script.

    module = linen.Network(genotype, NetworkConfig(auxiliary=False))
    variables = module.init(key, images)
    logits = module.apply(variables, images)
    logits, updates = module.apply(
        variables, images, train=True, mutable=["batch_stats"]
    )

The collections "params" and "batch_stats" have the tree structure of the pure
functions, so the variables of a run can be passed to `module.apply` as they are.
Outputs and gradients are bit for bit those of the pure functions. Initial values come
from the same distributions, but from other keys: Flax folds the name of a variable
into the key.

On a CPU pass `compiler_options=lowering.compiler_options()` to the `jax.jit` of a
program that holds a module; without them depthwise kernels run several times slower.

Dims: N images, H, W sides, C channels.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn
from flax import serialization
from jaxtyping import Float

from egnas_jax.nn import supernet
from egnas_jax.nn.init import draw, is_leaf
from egnas_jax.nn.network import Logits, drops_paths, leaves_of, make_network
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.space import Genotype, Topology
from egnas_jax.types import Array, Key, Mixing, PyTree


class Network(nn.Module):
    """The network that a genotype describes.

    Attributes:
      genotype: the cells.
      config: the network around the cells.
      lists_as_dicts: store every list of the variables as a dictionary with the keys
        "0", "1", .... `nnx.bridge.ToNNX` and `flax.traverse_util.flatten_dict` need
        nested dictionaries. `flax.serialization.to_state_dict` converts the variables
        of a run to this layout.
    """

    genotype: Genotype | Topology
    config: NetworkConfig
    lists_as_dicts: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "N H W C"],
        *,
        train: bool = False,
        drop_path: Float[Array, ""] | float = 0.0,
    ) -> Logits | tuple[Logits, Logits]:
        """Computes the logits of a batch of images.

        Args:
          images: the batch; its dtype is the dtype of the activations.
          train: whether to normalise by the statistics of the batch. Pass
            `mutable=["batch_stats"]` to `apply`, which returns the new running ones.
          drop_path: probability in training with which a path of an image is dropped.
            Unless it is 0, pass `rngs={"drop_path": key}` to `apply`. The probability
            of the configuration is the one at the last epoch and is not read here.

        Primitives that draw random numbers take the key of drop path where paths are
        dropped, else `rngs={"primitives": key}`, else a constant one.

        Returns:
          Logits; in training with `config.auxiliary` a pair of logits and the logits
          of the auxiliary head.
        """
        network = make_network(self.genotype, self.config)
        description = leaves_of(self.genotype, self.config, images.shape[-1])
        key = _drawing_key(self, network.draws)
        if drops_paths(train, drop_path):
            key = self.make_rng("drop_path")

        def forward(variables):
            logits, auxiliary_logits, batch_stats = network.apply(
                variables, images, train=train, key=key, drop_path=drop_path
            )
            if auxiliary_logits is None:
                return logits, batch_stats
            return (logits, auxiliary_logits), batch_stats

        return _run(self, description, forward, train)


class Supernet(nn.Module):
    """The search network, whose forward pass takes a mixing beside the images.

    Attributes:
      config: what is built.
      lists_as_dicts: as in `Network`.
    """

    config: SupernetConfig
    lists_as_dicts: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "N H W C"],
        mixing: Mixing,
        *,
        train: bool = False,
    ) -> Logits:
        """Computes the logits of a batch of images under one mixing.

        Args:
          images: the batch, f32.
          mixing: the weights of all primitives and edges.
          train: whether to normalise by the statistics of the batch. Pass
            `mutable=["batch_stats"]` to `apply`, which returns the new running ones.

        Primitives that draw random numbers take `rngs={"primitives": key}`, or a
        constant key where there is none.
        """
        net = make_supernet(self.config)
        description = supernet.leaves_of(self.config, images.shape[-1])
        key = _drawing_key(self, net.draws)

        def forward(variables):
            return net.apply(variables, images, mixing, train=train, key=key)

        return _run(self, description, forward, train)


def _drawing_key(module: nn.Module, draws: bool) -> Key | None:
    """The key that primitives draw by; None where none draws or none is given."""
    is_given = draws and module.has_rng("primitives")
    return module.make_rng("primitives") if is_given else None


def _run(
    module: Network | Supernet,
    description: PyTree,
    forward: Callable[[PyTree], tuple[Any, PyTree]],
    train: bool,
) -> Any:
    """Declares a module's variables, runs the forward pass and stores new batch_stats.

    Args:
      module: the module that owns the variables.
      description: {"params", "batch_stats"}, trees of `nn.init.Leaf`.
      forward: variables -> (output of the module, new batch_stats).
      train: whether `forward` computes new batch_stats.
    """
    stored = serialization.to_state_dict if module.lists_as_dicts else _unchanged

    def initial(key: Key, leaves: PyTree) -> PyTree:
        return stored(draw(key, leaves))

    params = {
        name: module.param(name, initial, leaves)
        for name, leaves in description["params"].items()
    }
    any_key = jax.random.key(0)  # batch_stats start as constants
    batch_stats = {
        name: module.variable("batch_stats", name, initial, any_key, leaves)
        for name, leaves in description["batch_stats"].items()
    }
    values = {name: variable.value for name, variable in batch_stats.items()}
    variables = {"params": params, "batch_stats": values}
    if module.lists_as_dicts:
        variables = _with_lists(description, variables)
    if module.is_initializing():
        # Without jit, a call of `init` would compile each operation by itself.
        return jax.jit(forward)(variables)[0]
    output, new_batch_stats = forward(variables)
    if train:
        for name, variable in batch_stats.items():
            variable.value = stored(new_batch_stats[name])
    return output


def _unchanged(tree: PyTree) -> PyTree:
    return tree


def _with_lists(description: PyTree, tree: PyTree) -> PyTree:
    """Turns nested dictionaries back into the described tree.

    NNX drops empty dictionaries, so a missing entry stands for an empty one.
    """
    if is_leaf(description):
        return tree
    if isinstance(description, list):
        return [
            _with_lists(entry, tree.get(str(index), {}))
            for index, entry in enumerate(description)
        ]
    return {
        name: _with_lists(entry, tree.get(name, {}))
        for name, entry in description.items()
    }
