"""Names what a job may do: prepare, take the card, measure, write results."""

import importlib
from collections.abc import Callable

# Imported when they are run: those of torch must not start JAX, and the other way
# round.
TASKS = {
    "limits": "benchmarks.gpu.row_task:measure_limits",
    "row": "benchmarks.gpu.row_task:measure_row",
    "torch": "benchmarks.gpu.torch_task:measure_torch",
    "epoch": "benchmarks.gpu.search_tasks:measure_epoch",
    "resume": "benchmarks.gpu.search_tasks:check_resume",
    "search": "benchmarks.gpu.search_tasks:carry_search",
    "table2": "benchmarks.gpu.table2_task:carry_trainings",
}


def task_named(name: str) -> Callable[..., None]:
    """Returns the function of a task: (context, **options) -> None."""
    module, _, function = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), function)
