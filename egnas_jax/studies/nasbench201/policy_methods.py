"""Runs REINFORCE, ENAS's controller and PPO on the table.

The answer is the best of all evaluated cells. A reward is a validation accuracy, in
percent for REINFORCE and as a fraction for the controllers.

Sources: Dong & Yang (ICLR 2020) for REINFORCE with a softmax for every edge; Pham et
al. (ICML 2018); Zoph et al. (CVPR 2018) for PPO.

Dims: Q queries, S samples of one update, E edges, K primitives.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from egnas_jax.controller.edge_policy import edge_policy
from egnas_jax.controller.lstm import LSTMConfig
from egnas_jax.controller.policy import Policy, factorised_policy
from egnas_jax.controller.ppo import PPOOptions, ppo_update
from egnas_jax.controller.reinforce import ReinforceOptions, reinforce_update
from egnas_jax.controller.training import AdamOptions, PolicyState, init_policy
from egnas_jax.studies.nasbench201.method_configs import (
    ENASConfig,
    PPOConfig,
    ReinforceConfig,
)
from egnas_jax.studies.nasbench201.methods import TableRun, incumbents
from egnas_jax.studies.nasbench201.table import SPACE, BenchmarkTable, code_of
from egnas_jax.types import Array, Key

PERCENT = 100.0
SIZES = SPACE.num_edges, len(SPACE.primitives)
# (state, choices i32[S, E], validation accuracies f32[S]) -> state, what it looked at
Update = Callable[[PolicyState, Array, Array], tuple[PolicyState, Any]]


def reinforce_run(
    table: BenchmarkTable,
    config: ReinforceConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """REINFORCE: a step of Adam after every query."""
    del hyperparams
    policy = factorised_policy(*SIZES)
    options = ReinforceOptions(
        adam=AdamOptions(config.learning_rate),
        baseline_decay=config.baseline,
        corrected_baseline=True,
    )

    def update(state, choices, accuracy):
        return reinforce_update(policy, options, state, choices, PERCENT * accuracy)

    return _policy_run(table, policy, update, key, sizes=(queries, 1))


def enas_run(
    table: BenchmarkTable,
    config: ENASConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """ENAS's controller with a decision for every edge."""
    del hyperparams
    policy = edge_policy(LSTMConfig(hidden=config.hidden), *SIZES)
    options = ReinforceOptions(
        adam=AdamOptions(
            config.learning_rate, beta1=0.0, eps=1e-3, tensorflow_eps=True
        ),
        baseline_decay=config.baseline,
        entropy_weight=config.entropy_weight,
    )

    def update(state, choices, accuracy):
        return reinforce_update(policy, options, state, choices, accuracy)

    return _policy_run(table, policy, update, key, sizes=(queries, config.samples))


def nasnet_ppo_run(
    table: BenchmarkTable,
    config: PPOConfig,
    queries: int,
    hyperparams: dict,
    key: Key,
) -> TableRun:
    """The same controller trained by the clipped surrogate."""
    del hyperparams
    policy = edge_policy(LSTMConfig(hidden=config.hidden), *SIZES)
    options = PPOOptions(
        adam=AdamOptions(config.learning_rate),
        baseline_decay=config.baseline,
        entropy_weight=config.entropy_weight,
        clip=config.clip,
        epochs=config.epochs,
        level=config.level,
    )

    def update(state, choices, accuracy):
        return ppo_update(policy, options, state, choices, accuracy)

    return _policy_run(table, policy, update, key, sizes=(queries, config.samples))


def _policy_run(
    table: BenchmarkTable,
    policy: Policy,
    update: Update,
    key: Key,
    *,
    sizes: tuple[int, int],
) -> TableRun:
    """Samples, evaluates and updates; `sizes` are queries and samples of an update."""
    queries, samples = sizes
    key_init, key_run = jax.random.split(key)

    def step(state, key):
        keys = jax.random.split(key, samples)
        choices = jax.vmap(lambda k: policy.sample(k, state.params))(keys)
        rows = table.row_of[code_of(choices)]
        return update(state, choices, table.valid[rows])[0], rows

    keys = jax.random.split(key_run, -(-queries // samples))
    _, rows = lax.scan(step, init_policy(key_init, policy), keys)
    rows = rows.reshape(-1)[:queries]
    return TableRun(rows=rows, answer=incumbents(table, rows)[-1])
