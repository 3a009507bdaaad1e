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


def _local_search() -> Callable:
    from egnas_jax.studies.nasbench201.population_methods import local_search_run

    return local_search_run


def _reinforce() -> Callable:
    from egnas_jax.studies.nasbench201.policy_methods import reinforce_run

    return reinforce_run


def _enas() -> Callable:
    from egnas_jax.studies.nasbench201.policy_methods import enas_run

    return enas_run


def _nasnet_ppo() -> Callable:
    from egnas_jax.studies.nasbench201.policy_methods import nasnet_ppo_run

    return nasnet_ppo_run


def _nsga2() -> Callable:
    from egnas_jax.studies.nasbench201.population_methods import nsga2_run

    return nsga2_run


def _epcnas_pso() -> Callable:
    from egnas_jax.studies.nasbench201.population_methods import pso_run

    return pso_run


# name -> (table, options of the method, queries, hyperparameters, key) -> TableRun
METHODS: LazyTable[Callable] = LazyTable(
    {
        "egnas": _egnas,
        "random_search": _random_search,
        "local_search": _local_search,
        "ageing_evolution": _ageing_evolution,
        "reinforce": _reinforce,
        "enas": _enas,
        "nasnet_ppo": _nasnet_ppo,
        "nsga2": _nsga2,
        "epcnas_pso": _epcnas_pso,
    }
)
