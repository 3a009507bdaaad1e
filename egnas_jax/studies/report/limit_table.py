"""Builds the table of a report that sets the result of each search beside its costs."""

from egnas_jax.nn.costs import cost
from egnas_jax.nn.network_config import NetworkConfig
from egnas_jax.runs.limits import NETWORK
from egnas_jax.space import Topology, parse_genotype
from egnas_jax.studies.report.page import ReportTable
from egnas_jax.studies.report.run_tables import final
from egnas_jax.studies.report.runs import Group, RunRecord

HEADER = (
    *("group", "run", "limits", "params", "multiply-adds", "peak activations, bytes"),
    *("latency, ms", "over a limit (%)", "validation accuracy (%)"),
)
COSTS = ("params", "multiply_adds", "peak_activation_bytes", "latency_ms")


def limit_table(groups: list[Group]) -> ReportTable | None:
    """Limits, costs and accuracy of every search; None where no search has a limit.

    A search without limits is counted in the network of the first that has some.
    """
    runs = [(group.label, run) for group in groups for run in group.runs]
    limited = [run.limited for _, run in runs if run.limited]
    if not limited:
        return None
    network = limited[0]["network"]
    rows = [(label, run.name, *_row(run, network)) for label, run in runs]
    note = (
        f"Costs of the genotype's network with {network['channels']} channels and "
        f"{network['layers']} cells for images of {network['image_size']} pixels a "
        f"side, or of a run's own `limited.network` in its summary.json. Over a limit: "
        f"candidates of the last generation that the run recorded."
    )
    return ReportTable("Limits and costs", HEADER, rows, note)


def _row(run: RunRecord, network: dict) -> tuple[str, ...]:
    limits = ", ".join(
        f"{name} {value:,g}" for name, value in run.limited.get("limits", {}).items()
    )
    costs = run.limited.get("costs") or _counted(run, network)
    shares = [value for value in run.column("over_limit") if value is not None]
    return (
        limits or "none",
        *(_number(costs.get(name)) for name in COSTS),
        f"{100 * shares[-1]:.1f}" if shares else "-",
        "-" if (value := final(run)) is None else f"{100 * value:.2f}",
    )


def _counted(run: RunRecord, network: dict) -> dict:
    """Costs of a run's genotype in a network; {} where it has none, or cannot."""
    if "genotype" not in run.result:
        return {}
    genotype = parse_genotype(run.result["genotype"])
    # earlier versions recorded no stages
    settings = {name: network[name] for name in NETWORK if name in network}
    if settings.get("stages") and genotype.macro == Topology.macro:
        return {}  # a network of stages has cells with two inputs
    counted = cost(
        genotype,
        NetworkConfig(**settings, auxiliary=False),
        image_size=network["image_size"],
        image_channels=network["image_channels"],
    )
    return vars(counted)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
