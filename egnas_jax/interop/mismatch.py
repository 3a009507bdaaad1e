"""Says why torch weights do not fit a network, and what is at fault.

The configuration is at fault only where it explains the difference: whole layers or
cells are missing, or a layer holds all the weights of another primitive. Names of no
network of the DARTS family, layers that are given in part and other orders of axes have
other causes.
"""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from egnas_jax.interop import places
from egnas_jax.lookup import listed
from egnas_jax.space.base import DARTS_PRIMITIVES

Shape = tuple[int, ...]

# A layer and the name of a weight inside it.
LAYER = re.compile(
    r"(cells\.\d+\._ops\.\d+(?:\._ops\.\d+)?|cells\.\d+\.preprocess[01]|"
    r"stem\d?|classifier|auxiliary_head)\.(.+)"
)
SCALE_AND_SHIFT = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")


def check_names(expected: Collection[str], given: Iterable[str], settings: str) -> None:
    """Refuses other names than the expected ones.

    Args:
      expected: names of all weights of the network.
      given: names of the weights that the caller has.
      settings: what a user should check where the configuration explains the
        difference.

    Raises:
      ValueError: names are missing or unexpected; the message says what is at fault.
    """
    expected, names = set(expected), set(given)
    problems = [
        f"{len(wrong)} weights are {problem}: {_listed(wrong)}."
        for problem, wrong in (
            ("missing", expected - names),
            ("unexpected", names - expected),
        )
        if wrong
    ]
    if problems:
        advice = _advice(expected, names) or (
            f"Check that {settings} are those of the checkpoint."
        )
        raise ValueError(" ".join([*problems, advice]))


def check_shape(name: str, given: Shape, asked: Shape, settings: str) -> None:
    """Refuses a weight of another shape than torch has it in such a network.

    Args:
      name: of the weight.
      given: its shape.
      asked: the shape in torch's layout.
      settings: see `check_names`.

    Raises:
      ValueError: the shapes differ; the message says whether only the axes do.
    """
    if given == asked:
        return
    is_other_order = _without_ones(given) == _without_ones(asked)
    is_reshaped = len(given) != len(asked) and math.prod(given) == math.prod(asked)
    if is_other_order or is_reshaped:
        raise ValueError(
            f"Weight {name} has shape {given}, but torch's layout is {asked}. It holds "
            f"as many numbers in another order of axes, so the configuration is not at "
            f"fault. Transpose or reshape it: kernels are [out, in / groups, height, "
            f"width], matrices [out, in], all others [channels]."
        )
    raise ValueError(
        f"Weight {name} has shape {given}, but the configuration asks for {asked}. "
        f"Check {settings}."
    )


def _without_ones(shape: Shape) -> list[int]:
    return sorted(size for size in shape if size != 1)


def _advice(expected: set[str], names: set[str]) -> str | None:
    """What to do where names differ; None where the configuration explains it."""
    if not names:
        return "No weights were given. Pass the mapping from names to arrays."
    foreign = [name for name in names if _layer(name, expected) is None]
    if 2 * len(foreign) > len(names):
        return _of_another_network(names, expected)
    if foreign:
        return (
            f"No network of the DARTS family has a weight {_listed(foreign)}, whatever "
            f"its configuration. Leave it out, or rename it."
        )
    return _of_norms(expected, names) or _of_layers(expected, names)


def _of_another_network(names: set[str], expected: set[str]) -> str:
    number = len(names & expected) or "None"
    return (
        f"{number} of the {len(names)} names given ({_listed(names)}) fit this "
        f"network, so these are the weights of another kind of network, or under other "
        f"names; the configuration is not at fault. Rename the weights."
    )


def _of_norms(expected: set[str], names: set[str]) -> str | None:
    """Advice where only parts of norms differ."""
    wrong = [name.rpartition(".") for name in expected ^ names]
    given = _by_layer(names, expected)
    # Poolings without norms (`pool_bn`) lack all their weights, which are statistics.
    is_in_part = any(_layer(name, expected)[0] in given for name in expected - names)
    lacks_statistics = all(part in STATISTICS for *_, part in wrong)
    if names < expected and lacks_statistics and is_in_part:
        return (
            "Running statistics of norms are missing, which no configuration explains. "
            "Pass the state_dict() of the network, which holds them; parameters() and "
            "named_parameters() do not."
        )
    are_of_norms = all(
        part in SCALE_AND_SHIFT
        and f"{layer}.{STATISTICS[0]}" in expected
        and f"{layer}.{STATISTICS[0]}" in names
        for layer, _, part in wrong
    )
    if not are_of_norms:
        return None
    return (
        "Norms have a scale and a shift in one of the two networks and none in the "
        "other, which no configuration explains. Search networks have none inside "
        "their cells; networks that are trained from a genotype have them everywhere."
    )


def _of_layers(expected: set[str], names: set[str]) -> str | None:
    """Advice where layers are given in part, or in a form that no primitive has."""
    wanted, given = _by_layer(expected, expected), _by_layer(names, expected)
    differing = [
        layer
        for layer in wanted | given
        if wanted.get(layer, set()) != given.get(layer, set())
    ]
    odd = [
        layer
        for layer in differing
        if _is_unexplained(layer, wanted.get(layer), given.get(layer), given)
    ]
    if not odd:
        return None
    return (
        f"The weights of {_listed(layer or 'the primitive' for layer in odd)} are "
        f"incomplete, or of a form that no network of the DARTS family has; no "
        f"configuration explains that. Pass the whole state_dict() of the network."
    )


def _is_unexplained(
    layer: str,
    wanted: set[str] | None,
    given: set[str] | None,
    layers: Collection[str],
) -> bool:
    """Whether no configuration explains that a layer holds what is given."""
    is_of_cell = layer == "" or layer.startswith("cells.")
    if given:
        return frozenset(given) not in _forms() if is_of_cell else bool(wanted)
    if layer.startswith("stem"):  # frames have other stems, but each has one
        return not any(other.startswith("stem") for other in layers)
    return not is_of_cell and layer != "auxiliary_head"


def _by_layer(names: Iterable[str], expected: set[str]) -> Mapping[str, set[str]]:
    """Layer -> names of the weights inside it."""
    layers = defaultdict(set)
    for name in names:
        layer, part = _layer(name, expected)
        layers[layer].add(part)
    return dict(layers)


def _layer(name: str, expected: set[str]) -> tuple[str, str] | None:
    """The layer of a weight and its name there; None for no network of the family."""
    if match := LAYER.fullmatch(name):
        return match[1], match[2]
    parts = frozenset.union(*_forms())
    if name in parts and expected <= parts:
        return "", name  # a primitive alone
    layer, _, part = name.rpartition(".")
    return (layer, part) if name in expected else None


@functools.cache
def _forms() -> frozenset[frozenset[str]]:
    """The names that a primitive or a preprocessing has, with and without scales."""
    preprocessing = ["op.1.weight", *_names(places.norm("op.2", (), ()))]
    forms = [
        preprocessing,
        *(_names(places.primitive(kind, "", (), (), 2)) for kind in DARTS_PRIMITIVES),
    ]
    plain = [[name for name in form if not _is_scale(name, form)] for form in forms]
    return frozenset(map(frozenset, [*forms, *plain]))


def _names(found: Iterable[places.Place]) -> list[str]:
    return [place.name for place in found]


def _is_scale(name: str, form: Collection[str]) -> bool:
    layer, _, part = name.rpartition(".")
    return part in SCALE_AND_SHIFT and f"{layer}.{STATISTICS[0]}" in form


def _listed(names: Iterable[str]) -> str:
    return listed(sorted(map(str, names)))
