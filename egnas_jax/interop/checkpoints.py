"""Finds the weights of a network in what torch checkpoints hold around them.

A checkpoint may be a record of a training ({"epoch", "state_dict", "optimizer"}), and a
wrapper such as DataParallel puts a prefix before every name ("module.stem.0.weight").
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from egnas_jax.lookup import listed

Note = Callable[[str], Any]

# Every network of the DARTS family has it, of whatever frame.
FIRST_CELL_KERNEL = "cells.0.preprocess1.op.1.weight"
MOST_LEVELS = 3  # of records inside records


def network_weights(
    checkpoint: Mapping[str, Any], anchors: Collection[str], log: Note | None = None
) -> dict[str, Any]:
    """The weights of a network by their own names.

    Args:
      checkpoint: names -> arrays, or a record one of whose entries holds them.
      anchors: names of weights, by which a network of this kind is recognised.
      log: called with a note on each thing that was left out; None: the logger
        "egnas_jax" gets it as a warning.

    Raises:
      ValueError: the checkpoint is not a mapping, it holds modules instead of weights,
        several of its entries hold a network, or none of several does.
    """
    log = log or logging.getLogger("egnas_jax").warning
    _check_mapping(checkpoint)
    path, weights = _entry(checkpoint, anchors)
    if path:
        beside = [key for key in checkpoint if str(key) != path[0]]
        ignored = f" (beside {listed(beside)})" if beside else ""
        log(f"The weights are read from the entry {'/'.join(path)}{ignored}.")
    prefix = _prefix(weights, anchors)
    if prefix:
        log(f"The names of the weights begin with {prefix!r}, which is left out.")
    return {str(name).removeprefix(prefix): weight for name, weight in weights.items()}


def _check_mapping(checkpoint):
    if isinstance(checkpoint, Mapping):
        return
    hint = "Load it by torch.load(FILE, map_location='cpu')."
    if _is_module(checkpoint):
        hint = "Pass its state_dict()."
    raise ValueError(
        f"The weights are of type {type(checkpoint).__name__}, but must be a mapping "
        f"from names to arrays. {hint}"
    )


def _entry(checkpoint, anchors) -> tuple[tuple[str, ...], Mapping]:
    """Keys of the entry that holds the network, and the entry; () for the whole."""
    entries = list(_entries(checkpoint, anchors, ()))
    if len(entries) == 1:
        return entries[0]
    inner = [str(key) for key, value in checkpoint.items() if _is_record(value)]
    if entries:
        paths = ["/".join(path) for path, _ in entries]
        raise ValueError(
            f"{len(entries)} entries of the checkpoint hold a network: "
            f"{listed(paths)}. Pass one of them."
        )
    modules = list(_modules(checkpoint, ()))
    if modules:
        raise ValueError(
            f"The checkpoint holds whole modules ({listed(modules)}), not their "
            f"weights. Pass the state_dict() of the network."
        )
    if inner:
        raise ValueError(
            f"No entry of the checkpoint ({listed(checkpoint)}) holds a weight "
            f"{' or '.join(anchors)}, as networks of the DARTS family do. Pass the "
            f"mapping from names to arrays."
        )
    return (), checkpoint


def _entries(record, anchors, path):
    """Every mapping, at most `MOST_LEVELS` deep, that holds one of the anchors."""
    if any(_ends_in(str(name), anchors) for name in record):
        yield path, record
    elif len(path) < MOST_LEVELS:
        for key, value in record.items():
            if _is_record(value):
                yield from _entries(value, anchors, (*path, str(key)))


def _modules(record, path):
    """Paths of the modules in a record, such as "model"."""
    for key, value in record.items():
        below = (*path, str(key))
        if _is_module(value):
            yield "/".join(below)
        elif _is_record(value) and len(below) < MOST_LEVELS:
            yield from _modules(value, below)


def _is_module(value) -> bool:
    """Whether an object has weights of its own; optimizers and schedulers have none."""
    return hasattr(value, "state_dict") and not hasattr(value, "step")


def _is_record(value) -> bool:
    return isinstance(value, Mapping)


def _ends_in(name: str, anchors: Collection[str]) -> str | None:
    """The anchor that a name is, or that it ends in after a dot; else None."""
    for anchor in anchors:
        if name == anchor or name.endswith(f".{anchor}"):
            return anchor
    return None


def _prefix(weights: Mapping, anchors: Collection[str]) -> str:
    """What stands before the names of a network.

    Raises:
      ValueError: names of several networks stand side by side.
    """
    prefixes = sorted(
        {
            name.removesuffix(anchor)
            for name in map(str, weights)
            if (anchor := _ends_in(name, anchors))
        }
    )
    if len(prefixes) > 1:
        shown = listed([repr(prefix) for prefix in prefixes])
        raise ValueError(
            f"The checkpoint holds {len(prefixes)} networks, whose names begin with "
            f"{shown}. Pass the weights of one of them."
        )
    return prefixes[0] if prefixes else ""
