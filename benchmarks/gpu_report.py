"""The findings of `benchmarks.gpu` as text."""

LIMITS = """Limits, measured here: {memory:.0f} GB/s copied (read and written), \
{float32:.1f} TFLOP/s in float32, {default:.1f} in jax's default for float32, \
{bfloat16:.1f} in bfloat16, {kernel:.1f} us a kernel."""


def report(found: dict) -> str:
    """All parts that were reached, and what was left out."""
    parts = [heading(found)]
    if "limits" in found:
        parts += [limits(found["limits"]), table(found)]
    if "epoch" in found:
        parts.append(epoch(found["epoch"]))
    for line in found.get("ranks", ()):
        short, other = line["bfloat16"], line["other_images"]
        parts.append(
            f"Orders after that, sigma {line['sigma']}: tau of the fitness between "
            f"float32 and bfloat16 {short['tau_fitness']:.3f} (of the loss "
            f"{short['tau_loss']:.3f}), between two batches of images "
            f"{other['tau_fitness']:.3f} ({other['tau_loss']:.3f})."
        )
    if "compilation" in found:
        times = found["compilation"]
        parts.append(
            f"Compilation of {times['program']}: {times['cold_s']:.0f} s beside "
            f"others, {times['warm_s']:.0f} s from the cache."
        )
    parts.append(parity(found["parity"]))
    if found.get("peak_bytes"):
        parts.append(f"Largest memory in use: {found['peak_bytes'] / 1e9:.1f} GB.")
    parts += [f"Left out: {line}" for line in found["left_out"]]
    parts += [f"FAILED: {line}" for line in found["failed"]]
    return "\n\n".join(parts)


def heading(found: dict) -> str:
    machine = found["machine"]
    text = f"{machine['date']}, {machine['device']}, jax {machine['jax']}"
    if found["size"] == "trial":
        text += ". A trial at small size: no figure below says anything about speed."
    return text


def limits(limit: dict) -> str:
    return LIMITS.format(
        memory=limit["bytes_per_s"] / 1e9,
        kernel=limit["seconds_per_kernel"] * 1e6,
        **{name: limit[name] / 1e12 for name in ("float32", "default", "bfloat16")},
    )


def table(found: dict) -> str:
    """A line a row; the ratio is torch's seconds over ours."""
    torch = found["torch"]
    lines = [
        "| row | precision | seconds a call | images/s | of the memory limit | of the "
        "arithmetic limit | torch / ours | compiled in s | program GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| {row['name']} | {row['precision']} | {row['seconds']:.4g} | "
            f"{row['images_per_s']:.0f} | {_percent(row['share_of_memory'])} | "
            f"{_percent(row['share_of_arithmetic'])} | {_ratio(torch, row)} | "
            f"{row['compile_s']:.0f} | {row['program_bytes'] / 1e9:.2f} |"
        )
    if "absent" in torch:
        lines += ["", f"{torch['absent']}."]
    return "\n".join(lines)


def _percent(share) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _ratio(torch: dict, row: dict) -> str:
    if row["name"] not in torch:
        return "-"
    return f"{row['images_per_s'] / torch[row['name']]['images_per_s']:.1f}"


def epoch(found: dict) -> str:
    return (
        f"An epoch of the default search in {found['precision']} on images "
        f"({found['images']}): {found['seconds']:.2f} s, of these "
        f"{found['weights_and_host']:.2f} weight steps and host, {found['evolve']:.2f} "
        f"exploration, {found['validate']:.2f} validation. A search of "
        f"{found['whole_search_epochs']} epochs, added up, not run: "
        f"{found['whole_search']:.0f} s and {found['compile_s']:.0f} s of compilation."
    )


def parity(found: dict) -> str:
    lines = ["| beside torch on a CPU | largest relative difference |", "|---|---|"]
    for what, error in found.items():
        text = ", ".join(f"{name} {value:.2g}" for name, value in error.items())
        lines.append(f"| {what} | {text} |")
    return "\n".join(lines)
