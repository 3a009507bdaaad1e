"""The one tiny search that many tests share, so that its programs compile once."""

import contextlib

import pytest

from egnas_jax.space import SPACES, Space

# one node and three primitives, one of which has weights; SETTINGS have a single cell
SPACE = Space(
    name="tiny",
    primitives=("avg_pool_3x3", "skip_connect", "dil_conv_3x3"),
    num_nodes=1,
)
# of the preset digits; the number of epochs changes no program
SETTINGS = {
    "supernet.channels": 4,
    "supernet.layers": 1,
    "batch_size": 128,
    "steps_per_call": 2,
    "strategy.population": 4,
    "strategy.fitness_batch_size": 64,
}
# the same for a search by another method
OF_ANY_METHOD = {k: v for k, v in SETTINGS.items() if not k.startswith("strategy.")}


def words(settings: dict) -> list[str]:
    """Settings as options of a command."""
    return [w for path, value in settings.items() for w in ("--set", f"{path}={value}")]


@contextlib.contextmanager
def registered_space():
    """Context in which the space has its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, SPACE.name, SPACE)
        yield
