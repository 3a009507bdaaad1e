"""The small configuration of every method that many tests share.

Their programs on the tiny search (tiny_search.py) compile once.
"""

from egnas_jax.space import SPACES, Space

# A method's program is as long as the cells have edges.
TWO_NODES = Space("two_nodes", SPACES["darts7"].primitives, num_nodes=2)
# small, and without the term of the fitness that rewards being worse
BLACK_BOX = dict(
    generations=2, fitness="loss", fitness_batch_size=24, finalists=2, final_batches=1
)
CONTROLLER = dict(
    hidden=8, samples=9, steps=2, batch_size=24, batches="shared", fitness="loss"
)
SMALL = {
    "egnas": dict(warmup=0, population=8, samples=2, eta=0.0, fitness_batch_size=24),
    "random_search": dict(candidates=8, fitness_batch_size=24),
    "darts": dict(learning_rate=0.1, batch_size=24),
    "snas": dict(alpha_optimizer="adam", learning_rate=0.1, resource_penalty=1e-6),
    "pc_darts": dict(learning_rate=0.1, batch_size=24, warmup=0),
    "p_darts": dict(
        learning_rate=0.1,
        batch_size=24,
        warmup=0,
        kept="2,1",
        added_layers="0,1",
        added_channels="0,0",
        skip_dropout="0.1,0.2",
    ),
    "enas": dict(CONTROLLER, learning_rate=0.1, conv_bias=0.0) | dict(steps=8),
    "nasnet_ppo": dict(CONTROLLER, learning_rate=0.05, conv_bias=0.0),
    "ageing_evolution": dict(BLACK_BOX, population=12, tournament=6, children=9),
    "nsga2": dict(BLACK_BOX, population=12, offspring=9, point="best", final_batches=0),
    "epcnas_pso": dict(BLACK_BOX, particles=12, final_batches=0),
}

# methods whose update compiles for many seconds
SLOW_TO_COMPILE = {"ageing_evolution", "nsga2", "epcnas_pso", "enas", "nasnet_ppo"}


def settings_of(name: str) -> dict:
    """The configuration of a method as settings of a search."""
    return {f"strategy.{field}": value for field, value in SMALL[name].items()}
