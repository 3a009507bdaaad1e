"""Lists the methods of a table search."""

from collections.abc import Callable

from egnas_jax.lookup import LazyTable


def _egnas() -> Callable:
    from egnas_jax.studies.nasbench201.methods import egnas_run

    return egnas_run


def _random_search() -> Callable:
    from egnas_jax.studies.nasbench201.methods import random_run

    return random_run


def _ageing_evolution() -> Callable:
    from egnas_jax.studies.nasbench201.methods import ageing_run

    return ageing_run


# name -> (table, options of the method, queries, hyperparameters, key) -> TableRun
METHODS: LazyTable[Callable] = LazyTable(
    {
        "egnas": _egnas,
        "random_search": _random_search,
        "ageing_evolution": _ageing_evolution,
    }
)
