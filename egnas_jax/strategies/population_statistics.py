"""Summarises a population by five numbers instead of P.

Dims: P population.
"""

import jax.numpy as jnp

from egnas_jax.types import Array

QUANTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}


def quantiles(**metrics: Array) -> dict[str, Array]:
    """Returns the smallest value, the quartiles and the largest of each metric.

    Args:
      metrics: name -> f32 of any shape, a value for each individual; NaN is left out.

    Returns:
      "population_NAME_min", "_q1", "_median", "_q3" and "_max", f32[] each,
      interpolated as `numpy.quantile` does; NaN where every value is NaN.
    """
    places = jnp.asarray(list(QUANTILES.values()), jnp.float32)
    summary = {}
    for name, values in metrics.items():
        values_at = jnp.nanquantile(values, places)
        summary |= zip(quantile_names(name), values_at, strict=True)
    return summary


def unknown_quantiles(metric: str) -> dict[str, Array]:
    """Returns the results of `quantiles` for a metric that nobody has: infinite."""
    return dict.fromkeys(quantile_names(metric), jnp.full((), jnp.inf))


def quantile_names(*metrics: str) -> list[str]:
    """Returns the keys of the results of `quantiles`."""
    return [f"population_{name}_{place}" for name in metrics for place in QUANTILES]
