"""Reads the search network of a golden file whose weights are one packed vector."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from egnas_jax import interop
from egnas_jax.nn.supernet import SupernetConfig, make_supernet
from egnas_jax.types import Batch

KINDS = "normal", "reduce"
FIELDS = "space pool_bn channels layers partial_channels num_classes".split()


def unpacked(golden, name):
    """torch name -> array f32, of the vector `name`."""
    weights, start = {}, 0
    for torch_name, shape in json.loads(str(golden[f"{name}_names"])):
        stop = start + int(np.prod(shape))
        part = golden[name][start:stop].astype(np.float32)
        weights[torch_name], start = part.reshape(shape), stop
    assert start == len(golden[name])
    return weights


def read_network(golden):
    """The supernet of a golden file, and its variables."""
    fields = json.loads(str(golden["config"]))
    config = SupernetConfig(**{name: fields[name] for name in FIELDS})
    variables = interop.supernet_from_torch(unpacked(golden, "w"), config)
    return make_supernet(config), variables


def with_logits(net, seen):
    """The network, which appends the logits of each pass to a list as it runs."""

    def apply(*arguments, **options):
        logits, stats = net.apply(*arguments, **options)
        jax.debug.callback(lambda values: seen.append(np.asarray(values)), logits)
        return logits, stats

    return net._replace(apply=apply)


def read_batch(golden, images, labels, index=None):
    """A batch; `index` chooses one of several."""
    x, y = golden[images], golden[labels]
    x, y = (x, y) if index is None else (x[index], y[index])
    return Batch(jnp.asarray(x, jnp.float32).transpose(0, 2, 3, 1), jnp.asarray(y))


def by_kind(rows, dtype=jnp.float32):
    """[2, ...] -> cell kind -> f32[...]."""
    return {kind: jnp.asarray(rows[i], dtype) for i, kind in enumerate(KINDS)}


def largest_difference(actual, expected):
    """max |difference| / max |value|, of cell kind -> array and [2, ...]."""
    stacked = np.stack([np.asarray(actual[kind], np.float64) for kind in KINDS])
    return np.abs(stacked - expected).max() / np.abs(expected).max()


def moves_agree(actual, expected, start, rate):
    """Whether 98 % of the moves of Adam agree to 2 %.

    Adam divides by |gradient| at first, so that the sign of a gradient near 0 decides.
    """
    moves = (np.stack([actual[kind] for kind in KINDS]) - start) / rate
    off = np.abs(moves - (expected - start) / rate)
    return np.mean(off <= 0.02) >= 0.98
