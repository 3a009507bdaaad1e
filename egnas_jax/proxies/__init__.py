"""Zero-cost proxies: scores of untrained networks."""

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
