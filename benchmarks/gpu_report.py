"""Formats the results of `benchmarks.gpu` as text."""

LIMITS = """Limits of this device: {memory:.0f} GB/s copied (read and written), \
{float32:.1f} TFLOP/s in float32, {default:.1f} in jax's default for float32, \
{bfloat16:.1f} in bfloat16, {kernel:.1f} us per kernel."""


def report(results: dict) -> str:
    """All parts that were measured, and what was left out."""
    parts = [heading(results)]
    if "limits" in results:
        parts += [limits(results["limits"]), table(results)]
    if "epoch" in results:
        parts.append(epoch(results["epoch"]))
    for line in results.get("ranks", ()):
        short, other = line["bfloat16"], line["other_images"]
        parts.append(
            f"Order of individuals, sigma {line['sigma']}: tau of the fitness between "
            f"float32 and bfloat16 {short['tau_fitness']:.3f} (of the loss "
            f"{short['tau_loss']:.3f}), between two batches of images "
            f"{other['tau_fitness']:.3f} ({other['tau_loss']:.3f})."
        )
    if "compilation" in results:
        times = results["compilation"]
        parts.append(
            f"Compilation of {times['program']}: {times['cold_s']:.0f} s together "
            f"with others, {times['warm_s']:.0f} s from the cache."
        )
    parts.append(parity(results["parity"]))
    if results.get("peak_bytes"):
        parts.append(f"Largest memory in use: {results['peak_bytes'] / 1e9:.1f} GB.")
    parts += [f"Left out: {line}" for line in results["left_out"]]
    parts += [f"FAILED: {line}" for line in results["failed"]]
    return "\n\n".join(parts)


def heading(results: dict) -> str:
    """Date, device and version."""
    machine = results["machine"]
    text = f"{machine['date']}, {machine['device']}, jax {machine['jax']}"
    if results["size"] == "trial":
        text += ". A trial at small size: the numbers below say nothing about speed."
    return text


def limits(limit: dict) -> str:
    """The limits of the device in one sentence."""
    return LIMITS.format(
        memory=limit["bytes_per_s"] / 1e9,
        kernel=limit["seconds_per_kernel"] * 1e6,
        **{name: limit[name] / 1e12 for name in ("float32", "default", "bfloat16")},
    )


def table(results: dict) -> str:
    """One line per row; the ratio is torch's seconds over ours."""
    torch = results["torch"]
    lines = [
        "| row | precision | seconds per call | images/s | of the memory limit | "
        "of the arithmetic limit | torch / ours | compiled in s | program GB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
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


def epoch(measured: dict) -> str:
    """The time of an epoch and of a whole search."""
    return (
        f"An epoch of the default search in {measured['precision']} on images "
        f"({measured['images']}): {measured['seconds']:.2f} s, of which "
        f"{measured['weights_and_host']:.2f} are weight steps and host, "
        f"{measured['evolve']:.2f} exploration, {measured['validate']:.2f} validation. "
        f"Extrapolated to {measured['whole_search_epochs']} epochs: "
        f"{measured['whole_search']:.0f} s, and {measured['compile_s']:.0f} s of "
        f"compilation."
    )


def parity(errors: dict) -> str:
    """The differences from torch as a table."""
    lines = ["| compared with torch on a CPU | largest difference |", "|---|---|"]
    for what, error in errors.items():
        text = ", ".join(f"{name} {value:.2g}" for name, value in error.items())
        lines.append(f"| {what} | {text} |")
    return "\n".join(lines)
