"""Formats what a campaign has found as Markdown."""

from benchmarks import opponent
from benchmarks.deviceless.cards import CARDS
from benchmarks.gpu.comparisons import costs_of_flags, lowerings, together
from benchmarks.gpu.found import loaded, made, results, rows_of
from benchmarks.gpu.jobs import Job
from benchmarks.gpu.memory import DONE, Memory

LIMITS = """Limits of this device, with autotuning: {memory:.0f} GB/s copied (read \
and written), {float32:.1f} TFLOP/s in float32, {default:.1f} in jax's default for \
float32, {bfloat16:.1f} in bfloat16, {kernel:.1f} us per kernel."""
LOW = """LOW LIMIT: in bfloat16 that is {share:.0f} % of the {peak:.0f} TFLOP/s of the \
data sheet, so shares of the arithmetic limit are overstated."""
LOW_SHARE = 0.5  # large products reach more than half of a data sheet's rate
STAR = "* loaded, having been compiled beforehand."
UNTUNED = "Without autotuning, which `egnas search` and `egnas retrain` leave on:\n"
SHORT = 12  # characters of a digest that are printed
# Table 1 of the report (%), and its 0.08 GPU-days for one search.
REPORTED = "The report: 84.09 % and 115 minutes."


def report(memory: Memory, jobs: list[Job]) -> str:
    """All that was measured, and what is left.

    Args:
      memory: of the campaign.
      jobs: all jobs of its size.
    """
    known = [job for job in jobs if job.name in memory.jobs]
    parts = [
        heading(memory),
        limits(memory),
        table(memory, known),
        wrong(memory, known),
        parity(memory, known),
        lowerings(memory, known),
        costs_of_flags(memory, known),
        torch(memory),
        epoch(memory),
        together(memory),
        resume(memory, known),
        searches(memory, known),
        trainings(memory),
        other_source(memory, known),
        left(memory, jobs),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def heading(memory: Memory) -> str:
    """Device and versions."""
    machine = memory.machine
    if "jax" not in machine:
        return "Nothing has been measured yet."
    text = f"{machine['device']}, jax {machine['jax']}, Python {machine['python']}"
    if machine.get("source"):
        text += f", source {machine['source'][:SHORT]}"
    if memory.size != "full":
        text += ". A trial at small size: the numbers below say nothing about speed."
    return text


def limits_of(memory: Memory) -> dict | None:
    """The measured limits of the device, or None."""
    return results(memory, "speed: limits").get("limits")


def limits(memory: Memory) -> str:
    """The limits of the device, and whether they are too low to be its own."""
    limit = limits_of(memory)
    if limit is None:
        return ""
    text = LIMITS.format(
        memory=limit["bytes_per_s"] / 1e9,
        kernel=limit["seconds_per_kernel"] * 1e6,
        **{name: limit[name] / 1e12 for name in ("float32", "default", "bfloat16")},
    )
    return " ".join(filter(None, (text, low_limit(memory, limit["bfloat16"]))))


def low_limit(memory: Memory, rate: float) -> str:
    """A warning where a known card reaches far less than its data sheet says.

    Args:
      memory: of the campaign, which names the card.
      rate: measured operations per second in bfloat16.
    """
    device = memory.machine.get("device")
    for card in CARDS.values():
        peak = card.products_per_s["bfloat16"]
        if card.name == device and rate < LOW_SHARE * peak:
            return LOW.format(share=100 * rate / peak, peak=peak / 1e12)
    return ""


def torch_rates(memory: Memory) -> dict[tuple[str, str], dict]:
    """Program and precision -> the fastest result of torch in that precision."""
    best: dict[tuple[str, str], dict] = {}
    for job in memory.jobs:
        if job.startswith("torch: "):
            for program, result in results(memory, job).items():
                key = program, opponent.precision_of(result["setting"])
                rate = best.get(key, {"images_per_s": 0.0})["images_per_s"]
                if result["images_per_s"] > rate:
                    best[key] = result
    return best


def table(memory: Memory, jobs: list[Job]) -> str:
    """One line per row; the ratio is torch's seconds over ours, in its precision."""
    lines = [
        "| stage | program, precision | ms per call | images/s | of the memory limit | "
        "of the arithmetic limit | torch / ours | compiled in s | program GB | "
        "compiling beside it | card, date |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    limit, rates = limits_of(memory) or {}, torch_rates(memory)
    for job, row in rows_of(memory, jobs):
        precision = job.options["precision"]
        key = row["program"], precision  # small networks are not torch's
        rate = rates.get(key) if job.stage.name != "parity" else None
        ratio = row["images_per_s"] / rate["images_per_s"] if rate else None
        products = row["multiply_adds"]
        operations = None if products is None else 2 * products
        shares = (
            _share(row["bytes"], row["seconds"], limit.get("bytes_per_s")),
            _share(operations, row["seconds"], limit.get(precision)),
        )
        lines.append(
            f"| {job.stage.name} | {'WRONG: ' * bool(row.get('wrong'))}"
            f"{row['program']}, {precision} | "
            f"{1e3 * row['seconds']:.4g} | {row['images_per_s']:.0f} | {shares[0]} | "
            f"{shares[1]} | {'-' if ratio is None else f'{ratio:.1f}'} | "
            f"{compilation(row)} | "
            f"{row['program_bytes'] / 1e9:.2f} | {row['beside']} | "
            f"{memory.machine.get('device', '-')}, {row['date']} |"
        )
    if len(lines) == 2:
        return ""
    if any(loaded(row) == "beforehand" for _, row in rows_of(memory, jobs)):
        lines += ["", STAR]
    return "\n".join(lines)


def compilation(row: dict) -> str:
    """Seconds that a program took to compile, marked where it did not compile."""
    marks = {"beforehand": "*", "cache": " (from the cache)", "": ""}
    return f"{row['compile_s']:.0f}{marks[loaded(row)]}"


def _share(work: float | None, seconds: float, limit: float | None) -> str:
    if work is None or limit is None:
        return "-"
    return f"{100 * work / seconds / limit:.1f} %"


def wrong(memory: Memory, jobs: list[Job]) -> str:
    """The rows whose results are not those of torch, and what is wrong with them."""
    return "\n".join(
        f"- WRONG: {job.name}: {', '.join(row['wrong'])}"
        for job, row in rows_of(memory, jobs)
        if row.get("wrong")
    )


def parity(memory: Memory, jobs: list[Job]) -> str:
    """The differences from torch as a table."""
    lines = ["| compared with torch on a CPU | largest difference |", "|---|---|"]
    for job, row in rows_of(memory, jobs):
        if row["parity"]:
            error = row["parity"].items()
            text = ", ".join(f"{name} {value:.2g}" for name, value in error)
            lines.append(f"| {job.name} | {text} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def torch(memory: Memory) -> str:
    """Torch's fastest settings in each precision."""
    lines = []
    for (program, precision), best in torch_rates(memory).items():
        text = opponent.name_of(best["setting"])
        if "beside" in best:
            text += f"; {best['beside']} compiling beside it"
        lines.append(
            f"- torch, {program}, {precision}: {best['images_per_s']:.0f} images/s "
            f"({text})"
        )
    return "\n".join(lines)


def epoch(memory: Memory) -> str:
    """The time of an epoch and of a whole search."""
    return "\n".join(
        f"An epoch of the default search, without autotuning, in "
        f"{measured['precision']} on images ({measured['images']}): "
        f"{measured['seconds']:.2f} s, of which "
        f"{measured['weights_and_host']:.2f} are weight steps and host, "
        f"{measured['evolve']:.2f} exploration, {measured['validate']:.2f} validation. "
        f"Extrapolated to {measured['whole_search_epochs']} epochs: "
        f"{measured['whole_search']:.0f} s, and {measured['compile_s']:.0f} s of "
        f"compilation{_cached(measured)}."
        for measured in results(memory, "epoch: an epoch").values()
    )


def _cached(measured: dict) -> str:
    """How many programs of an epoch were not compiled, in brackets."""
    counts = {
        "compiled beforehand": measured.get("beforehand", 0),
        "from the cache": measured.get("from_cache", 0),
    }
    texts = [f"{count} programs {how}" for how, count in counts.items() if count]
    return f" ({', '.join(texts)})" if texts else ""


def resume(memory: Memory, jobs: list[Job]) -> str:
    """Whether a resumed run and a replayed one have the same digests."""
    return "\n".join(
        f"- {job.name} ({found['flags']}): resumed "
        f"{'bit for bit' if found['resumed_equal'] else 'WITH OTHER DIGESTS'}, "
        f"{'verified' if found['verified'] else 'NOT verified'}"
        for job in jobs
        if job.task == "resume"
        for found in results(memory, job.name).values()
    )


def searches(memory: Memory, jobs: list[Job]) -> str:
    """How far the whole searches have come, beside the report's."""
    lines = [
        f"- {job.name}: {found['epochs']} of {found['of']} epochs, validation accuracy "
        f"{100 * found['valid_accuracy']:.2f} %, {found['seconds'] / 60:.1f} minutes"
        for job in jobs
        if job.task == "search"
        for found in results(memory, job.name).values()
    ]
    return "\n".join([UNTUNED, *lines, "", REPORTED]) if lines else ""


def trainings(memory: Memory) -> str:
    """How far the trainings of Table 2 have come."""
    found = results(memory, "table2: trainings").get("trainings", {})
    lines = [f"- {line}" for line in found.get("progress", ())]
    return "\n".join([UNTUNED, *lines]) if lines else ""


def other_source(memory: Memory, jobs: list[Job]) -> str:
    """The results that another source measured than that of the newest call."""
    newest = memory.machine.get("source")
    lines = []
    for job in jobs:
        for name in results(memory, job.name):
            source = made(memory, job.name, name).get("source") or "unknown"
            if newest and source != newest:
                lines.append(f"- OTHER SOURCE ({source[:SHORT]}): {job.name}: {name}")
    return "\n".join(lines)


def left(memory: Memory, jobs: list[Job]) -> str:
    """The jobs that are not done, with their reasons."""
    lines = []
    for job in jobs:
        state = memory.state(job.name)
        if state == DONE:
            continue
        reason = memory.jobs.get(job.name, {}).get("reason") or "not begun"
        lines.append(f"- {state or 'left'}: {job.name}: {reason}")
    return "\n".join(lines)
