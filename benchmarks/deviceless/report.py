"""Writes predictions as text: one program, and what a change did to it."""

GIGA = 1e9
# What a change is judged by: key, title, divisor, decimals.
COLUMNS = (
    ("ms", "ms", 1, 2),
    ("images_per_s", "images/s", 1, 0),
    ("bytes", "GB", GIGA, 3),
    ("launches", "launches", 1, 0),
    ("temporary_bytes", "temp GB", GIGA, 3),
    ("compile_s", "compile s", 1, 0),
)
KIND_COLUMNS = (
    ("kernels", "kernels", 1, 0),
    ("launches", "launches", 1, 0),
    ("bytes", "GB", GIGA, 3),
    ("l1_bytes", "L1 GB", GIGA, 3),
    ("operations", "Gop", GIGA, 1),
    ("products", "GFLOP", GIGA, 1),
    ("ms", "ms", 1, 2),
)


def describe(name: str, row: dict, heaviest: int = 0) -> str:
    """Writes one prediction.

    Args:
      name: of the program.
      row: a result of `predict.prediction`.
      heaviest: how many of the slowest kernels to list, 20 at most.
    """
    lines = [
        f"{name}: predicted {row['ms']:.2f} ms a step, {row['images_per_s']:,.0f} "
        f"images/s",
        f"  compiled in {row['trace_s']:.0f} + {row['compile_s']:.0f} s; XLA reserves "
        f"{row['reserved_bytes'] / GIGA:.2f} GB, of which "
        f"{row['temporary_bytes'] / GIGA:.2f} temporary",
        f"  {row['launches']:.0f} launches ({row['graph_launches']:.0f} in graphs) of "
        f"{row['kernels']} kernels, {row['turns']:.0f} turns of loops; launches bound "
        f"{row['launch_ms']:.2f} ms",
        f"  moves {row['bytes'] / GIGA:.2f} GB{_least(row)}; {_part(row, 'transpose')} "
        f"GB in transposes",
        *_shares(row),
        *_cudnn(row),
        *_calls(row),
        "",
        *_table(row),
        *(_heavy(line) for line in row["heaviest"][:heaviest]),
    ]
    return "\n".join(lines)


def _least(row):
    if row["least_bytes"] is None:
        return ""
    return f" where {row['least_bytes'] / GIGA:.2f} must move"


def _part(row, kind):
    return f"{row['kinds'].get(kind, {'bytes': 0})['bytes'] / GIGA:.2f}"


def _shares(row):
    """A line with the shares of the limits that are known."""
    parts = [
        f"{100 * row[key]:.0f} % of what {title} allows"
        for key, title in (
            ("memory_share", "the memory"),
            ("product_share", "matrix products"),
        )
        if row[key] is not None
    ]
    return [f"  predicted to reach {', '.join(parts)}"] if parts else []


def _cudnn(row):
    if not row["cudnn_ms"]:
        return []
    return [
        f"  {row['cudnn_ms']:.2f} ms are cuDNN's, at the roofline; its kernels of few "
        f"channels are slower, by how much nobody has measured"
    ]


def _calls(row):
    """A line for each library function whose time is not known."""
    for kind, part in row["kinds"].items():
        if kind.startswith("call "):
            yield (
                f"  {part['launches']:.0f} launches of {kind.removeprefix('call ')} "
                f"count as what they read and write, so they take longer"
            )


def _table(row):
    rows = [*row["kinds"].items(), ("total", row)]
    width = max(len(kind) for kind, _ in rows)
    yield f"  {'':{width}}" + "".join(f"{title:>10}" for _, title, *_ in KIND_COLUMNS)
    for kind, part in rows:
        numbers = (
            f"{part[key] / unit:>10,.{digits}f}"
            for key, _, unit, digits in KIND_COLUMNS
        )
        yield f"  {kind:{width}}" + "".join(numbers)


def _heavy(line):
    return (
        f"  {line['ms']:8.3f} ms, {line['launches']:.0f} launches, {line['kind']}, "
        f"bound by {line['limit']}: {line['name']} of {line['source']}"
    )


def compare(name: str, row: dict, earlier: dict) -> str:
    """Writes what changed between two predictions of one program."""
    parts = []
    for key, title, unit, digits in COLUMNS:
        new, old = row[key] / unit, earlier[key] / unit
        ratio = f" ({100 * (new / old - 1):+.0f} %)" if old else ""
        parts.append(f"{title} {old:,.{digits}f} -> {new:,.{digits}f}{ratio}")
    return f"{name} against the earlier file: " + "; ".join(parts)
