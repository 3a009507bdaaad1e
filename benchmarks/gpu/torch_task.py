"""Measures the torch loop under one of torch's settings."""

from benchmarks import opponent, parity
from benchmarks.gpu.child import Context
from benchmarks.gpu.sizes import SIZES


def measure_torch(context: Context, size: str, setting: dict[str, bool]) -> None:
    """Measures every program of torch's under a setting, the most important first."""
    made = SIZES[size]()
    device = "cuda" if context.settings.platform == "gpu" else "cpu"
    case = parity.case_named(made.case)
    side = opponent.make_side(case, device, setting)
    context.take_card()
    others = {"beside": context.beside, "halted": context.halted}
    for program, rate in opponent.rates(side, case, made.recipe):
        context.write(program, {"images_per_s": rate, "setting": setting} | others)
