"""How a population's figures are spread: five numbers instead of P.

Dims: P population.
"""

import jax.numpy as jnp

from egnas_jax.types import Array

QUANTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}


def spread(**figures: Array) -> dict[str, Array]:
    """Least, quartiles and largest of each figure over all individuals.

    Args:
      figures: name -> f32 of any shape, a value an individual; NaN is left out.

    Returns:
      "population_NAME_min", "_q1", "_median", "_q3" and "_max", f32[] each; NaN where
      no value is a number. Between two values as `numpy.quantile` has it.
    """
    places = jnp.asarray(list(QUANTILES.values()), jnp.float32)
    found = {}
    for name, values in figures.items():
        found |= zip(names(name), jnp.nanquantile(values, places), strict=True)
    return found


def names(*figures: str) -> list[str]:
    """What `spread` calls its results."""
    return [f"population_{name}_{place}" for name in figures for place in QUANTILES]
