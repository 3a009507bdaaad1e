"""Lists the search spaces by name, and takes those of others."""

from egnas_jax.space.base import Space
from egnas_jax.space.darts import DARTS7, DARTS8
from egnas_jax.space.nasbench201 import NASBENCH201
from egnas_jax.space.robust_darts import S1, S2, S3, S4

SHIPPED = DARTS7, DARTS8, NASBENCH201, S1, S2, S3, S4
SPACES = {space.name: space for space in SHIPPED}


def register_space(space: Space) -> Space:
    """Adds a space, so that searches can name it (`--space NAME`).

    Args:
      space: has a name that no other space has.

    Returns:
      The space.

    Raises:
      ValueError: it is no space, or its name is taken.
    """
    if not isinstance(space, Space):
        raise ValueError(f"register_space takes a Space, got {str(space)[:80]!r}.")
    if space.name in SPACES:
        raise ValueError(
            f"There is a space {space.name!r} already. Choose another name than "
            f"{', '.join(SPACES)}."
        )
    SPACES[space.name] = space
    return space
