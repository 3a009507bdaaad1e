"""Formats what selectors found as tables, for people."""

from egnas_jax.studies.selection.selectors import used_options
from egnas_jax.studies.tables import markdown_table

HEADER = (
    *("selector", "validation accuracy (%)", "validation loss", "weights (M)"),
    *("candidate images", "trained images", "seconds", "agreement of seeds"),
)
NOTE = (
    "Accuracy and loss are those of the derived cell under the supernet's weights, on "
    "the validation images that the selectors chose by. Weights are counted in the "
    "network of the published tables. Agreement of seeds: the mean share of edges with "
    "the same primitive, over all pairs of seeds."
)
SETTINGS = {  # column -> field of `SelectionOptions`
    "batches": "batches",
    "batch size": "batch_size",
    "statistics": "batch_stats",
    "criterion": "criterion",
    "seeds": "seeds",
    "first seed": "seed",
    "permutations": "permutations",
    "truncation": "truncation",
    "value": "value",
    "finetune epochs": "finetune",
}
SETTINGS_HEADER = ("epochs", *SETTINGS)
SETTINGS_NOTE = (
    'Epochs such as "2 of 5": the run has been trained since its cells were selected, '
    "so select anew. A dash: no selector used the option."
)
PAIR_HEADER = (
    *("first", "second", "edges", "edges in both"),
    "edges in both with the same primitive",
)


def selector_rows(result: dict) -> list[tuple[str, ...]]:
    """Returns a row for each selector, in the columns of `HEADER`.

    Args:
      result: contents of selection.json.
    """
    return [_row(entry) for entry in result["selectors"]]


def _row(entry: dict) -> tuple[str, ...]:
    return (
        entry["selector"],
        f"{100 * entry['valid_accuracy']:.2f}",
        _number(entry["valid_loss"], ".4f"),
        f"{entry['params'] / 1e6:.3f}",
        f"{entry['candidate_images']:,}",
        f"{entry['trained_images']:,}",
        f"{entry['seconds']:.1f}",
        _number(entry["seed_agreement"], ".2f"),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def settings_row(result: dict, epochs: int) -> tuple[str, ...]:
    """Returns what cells were selected by, in the columns of `SETTINGS_HEADER`.

    Args:
      result: contents of selection.json.
      epochs: number of epochs that the run has now.
    """
    selected = result["epochs"]
    used = used_options([entry["selector"] for entry in result["selectors"]])
    return (
        f"{selected}" if selected == epochs else f"{selected} of {epochs}",
        *(str(result[name]) if name in used else "-" for name in SETTINGS.values()),
    )


def pair_rows(result: dict) -> list[tuple[str, ...]]:
    """Returns a row for each pair of selectors, in the columns of `PAIR_HEADER`.

    Args:
      result: contents of selection.json.
    """
    names = ("first", "second", "total", "edges", "primitives")
    return [tuple(str(pair[name]) for name in names) for pair in result["agreement"]]


def selection_markdown(result: dict) -> str:
    """Returns the contents of selection.md.

    Args:
      result: contents of selection.json.
    """
    lines = ["# Selected cells", "", settings_line(result), ""]
    lines.append(markdown_table(HEADER, selector_rows(result), NOTE))
    if result["agreement"]:
        lines.append(markdown_table(PAIR_HEADER, pair_rows(result)))
    for entry in result["selectors"]:
        lines += [f"{entry['selector']}: `{entry['genotype']}`", ""]
    return "\n".join(lines)


def settings_line(result: dict) -> str:
    """Returns one sentence on what the cells were selected by.

    Options that no selector used are left out.

    Args:
      result: contents of selection.json.
    """
    used = used_options([entry["selector"] for entry in result["selectors"]])
    options = [
        f"{column} {result[name]}" for column, name in SETTINGS.items() if name in used
    ]
    return f"Selected after {result['epochs']} epochs; {', '.join(options)}."
