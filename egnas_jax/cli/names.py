"""Lists what can be named on the command line: the command `egnas list`."""

import argparse


def list_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `egnas list`."""
    text = "strategies, presets, spaces, zoo, proxies, ... (default: all kinds)"
    parser.add_argument("kind", nargs="?", metavar="KIND", help=text)


def list_names(options: argparse.Namespace) -> None:
    """Prints the names of every kind, or of one."""
    # none of these modules imports JAX, so the command answers at once
    from egnas_jax.lookup import lookup
    from egnas_jax.nn.kernels import CHOICES
    from egnas_jax.proxies.names import NAMES
    from egnas_jax.runs.presets import PRESETS, RECIPES
    from egnas_jax.space import SPACES, zoo
    from egnas_jax.space.primitive_names import FAMILIES
    from egnas_jax.strategies import STRATEGIES
    from egnas_jax.strategies.egnas.variants import VARIANTS
    from egnas_jax.strategies.labels import label_of
    from egnas_jax.studies.nasbench201.method_table import METHODS
    from egnas_jax.studies.selection.selectors import SELECTORS

    tables = {
        "presets": PRESETS,
        "recipes": RECIPES,
        "strategies": [_with_label(name, label_of(name)) for name in STRATEGIES],
        "variants": VARIANTS,
        "spaces": SPACES,
        "primitives": [f"{name} ({family})" for name, family in FAMILIES.items()],
        "lowerings": CHOICES,
        "zoo": zoo,
        "methods": METHODS,
        "selectors": SELECTORS,
        "proxies": NAMES,
    }
    if options.kind is not None:
        tables = {options.kind: lookup(tables, options.kind, "kind")}
    for name, entries in tables.items():
        print(f"{name}: {', '.join(entries)}")


def _with_label(name: str, label: str) -> str:
    return name if label == name else f"{name} ({label})"
