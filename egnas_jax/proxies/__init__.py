"""Zero-cost proxies: scores of untrained networks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time `__getattr__` imports a name when it is first used
    from egnas_jax.proxies.activation import normal_kernels
    from egnas_jax.proxies.cells import score, score_cells
    from egnas_jax.proxies.network import ProxyNetwork, of_mixing, of_network
    from egnas_jax.proxies.table import PROXIES, Proxy

__all__ = [
    "PROXIES",
    "Proxy",
    "ProxyNetwork",
    "normal_kernels",
    "of_mixing",
    "of_network",
    "score",
    "score_cells",
]

# module -> the public names that it defines
_NAMES = {
    "activation": "normal_kernels",
    "cells": "score score_cells",
    "network": "ProxyNetwork of_mixing of_network",
    "table": "PROXIES Proxy",
}
_MODULE_OF = {name: module for module, text in _NAMES.items() for name in text.split()}


def __getattr__(name: str) -> Any:
    """Imports a public name; `egnas list` would wait for JAX otherwise."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
