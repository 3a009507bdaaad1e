"""Says which jobs there are, which are done, and what the others need."""

from benchmarks.gpu import jobs, memory
from benchmarks.gpu.jobs import STAGES

HOW_TO_GET = {  # what a job needs -> how it comes
    "data": "CIFAR-10: name its --data-dir, or all of its --pieces",
    "torch": "torch: install it, and leave --no-torch out",
}


def list_jobs(
    listed: list[jobs.Job], chosen: list[jobs.Job], known: memory.Memory
) -> str:
    """Stages with their purpose and limit, and the state of each of their jobs.

    Args:
      listed: jobs to list.
      chosen: those of them whose needs are met.
      known: what was measured.
    """
    lines = []
    for stage in STAGES.values():
        of_stage = [job for job in listed if job.stage == stage]
        if of_stage:
            limit = f"{stage.limit_s:.0f} s a call"
            lines.append(f"{stage.name}: {stage.purpose} ({limit})")
        for job in of_stage:
            left = "left" if job in chosen else f"no {job.needs}"
            lines.append(f"  {known.state(job.name) or left:9}{job.name}")
    return "\n".join(lines)


def left_out(listed: list[jobs.Job], chosen: list[jobs.Job]) -> list[str]:
    """A line for each thing that jobs need and that is not there."""
    lines = []
    for need, how in HOW_TO_GET.items():
        names = [j.name for j in listed if j.needs == need and j not in chosen]
        if names:
            lines.append(f"left out: {', '.join(names)}. They need {how}.")
    return lines
