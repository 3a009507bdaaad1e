"""Lists the names of all primitives, and the family that each belongs to.

Spaces, genotypes and drawings need no more of a primitive than this, so they work
without JAX. nn/primitives.py defines what the names compute.
"""

import re

from egnas_jax.lookup import check_known

# "conv" has weights, "pool" summarises windows, "skip" passes its input on, "none" is
# the absence of an edge, "other" is anything else.
FAMILY_NAMES = ("conv", "pool", "skip", "other")

FAMILIES: dict[str, str] = {
    "none": "none",
    "avg_pool_3x3": "pool",
    "max_pool_3x3": "pool",
    "skip_connect": "skip",
    "sep_conv_3x3": "conv",
    "sep_conv_5x5": "conv",
    "sep_conv_7x7": "conv",
    "dil_conv_3x3": "conv",
    "dil_conv_5x5": "conv",
    "conv_7x1_1x7": "conv",
    "nor_conv_1x1": "conv",
    "nor_conv_3x3": "conv",
    "noise": "other",
}

# A name stands between quotes, bars or blanks in the texts of genotypes.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_HYPHENATED = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # of what no genotype holds


def check_primitive_name(name: str) -> None:
    """Refuses a name that no primitive has.

    Raises:
      ValueError: the message lists all names, and says how to add one.
    """
    try:
        check_known(FAMILIES, name, "primitive")
    except ValueError as error:
        raise ValueError(
            f"{error} A primitive of your own is added by its plug-in (--plugin "
            f"FILE.py, egnas_jax.load_plugin) or by egnas_jax.register_primitive, "
            f"before it is named."
        ) from None


def check_word(name: str, what: str, example: str, *, hyphens: bool = False) -> None:
    """Refuses a name that cannot stand in texts, settings and file names.

    Args:
      name: to be checked.
      what: whose name it is, as messages say it ("a space").
      example: of such a name.
      hyphens: whether it may have hyphens.

    Raises:
      ValueError: the name is no word.
    """
    pattern = _HYPHENATED if hyphens else _NAME
    if not isinstance(name, str) or not pattern.fullmatch(name):
        characters = "letters a to z, digits, underscores and hyphens"
        if not hyphens:
            characters = "letters a to z, digits and underscores"
        raise ValueError(
            f"{name!r} cannot be the name of {what}: it takes {characters}, and starts "
            f"with a letter. Choose a name like {example}."
        )


def check_new_name(name: str, family: str) -> None:
    """Refuses a name that a new primitive cannot have.

    Args:
      name: of the primitive.
      family: one of `FAMILY_NAMES`.

    Raises:
      ValueError: the name is no word or is taken, or the family is unknown.
    """
    check_word(name, "a primitive", "my_conv_3x3")
    if name in FAMILIES:
        raise ValueError(
            f"There is a primitive {name!r} already. Choose another name than "
            f"{', '.join(FAMILIES)}."
        )
    if family not in FAMILY_NAMES:
        raise ValueError(
            f"The primitive {name} has the family {family!r}. Allowed families: "
            f"{', '.join(FAMILY_NAMES)}."
        )


def register_name(name: str, family: str) -> None:
    """Adds the name of a primitive, so that spaces and genotypes may hold it.

    `nn.primitives.register_primitive` calls this.

    Args:
      name, family: see `check_new_name`.

    Raises:
      ValueError: the name is no word or is taken, or the family is unknown.
    """
    check_new_name(name, family)
    FAMILIES[name] = family
