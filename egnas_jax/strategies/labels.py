"""Names methods in full that do less than the systems whose idea they take.

What NASNet-A and EPCNAS were published with is not public or of another space, so a
result of ours must not stand under their names alone.
"""

# name in the table of strategies -> what it is, without its space
STYLES = {"nasnet_ppo": "NASNet-A-style (PPO)", "epcnas_pso": "EPCNAS-style PSO"}
DARTS_SPACES = ("darts7", "darts8")


def label_of(name: str, space: str = DARTS_SPACES[0]) -> str:
    """Returns what a method is called in texts and drawings; most by their names.

    Args:
      name: of the method.
      space: name of the space that it searches.
    """
    if name not in STYLES:
        return name
    where = "DARTS space" if space in DARTS_SPACES else f"space {space}"
    return f"{STYLES[name]} on the {where}"


def caption_of(name: str, space: str) -> str | None:
    """Returns the caption of a drawing of a method's cell; None where it needs none.

    Args:
      name, space: see `label_of`.
    """
    return f"Found by {label_of(name, space)}" if name in STYLES else None
