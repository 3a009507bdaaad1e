"""Runs one side of a benchmark as a process that performs one task per line.

Each side has a process of its own, so that the threads, malloc settings and compilation
caches of one do not affect the other. The process itself measures the time.

Protocol: one JSON object per line, {"task", ...arguments} in and the result out.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys


class WorkerError(RuntimeError):
    """The process of a side ended without an answer."""


class Worker:
    """A running process; call it with a task and its arguments."""

    def __init__(self, side: str, folder: pathlib.Path, env: dict, **options):
        command = [
            sys.executable,
            "-m",
            "benchmarks.worker",
            side,
            str(folder),
            json.dumps(options),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )

    def start(self, task: str, **arguments) -> None:
        """Sends a task; `finish` waits for its result and notices a dead process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self.process.stdin.flush()

    def finish(self) -> dict:
        """Waits for the result of the task.

        Raises:
          WorkerError: the process has ended.
        """
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError("A benchmark process ended; see its error above.")
        return json.loads(line)

    def __call__(self, task: str, **arguments) -> dict:
        self.start(task, **arguments)
        return self.finish()

    def close(self) -> None:
        """Ends the process after its task, or removes a process that has crashed."""
        with contextlib.suppress(BrokenPipeError):  # a task that it never read
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _make(side: str, folder: pathlib.Path, options: dict):
    from benchmarks import problem

    if side == "search":
        from benchmarks.epoch import FULL, SearchSide

        return SearchSide(FULL, **options)
    if side == "torch":
        from benchmarks.torch_side import TorchSide

        return TorchSide(problem.load(folder), **options)
    from benchmarks.jax_side import JaxSide

    return JaxSide(problem.load(folder), **options)


def main() -> None:
    side, folder, options = sys.argv[1:]
    tasks = _make(side, pathlib.Path(folder), json.loads(options))
    answers, sys.stdout = sys.stdout, sys.stderr  # stdout is for the answers alone
    for line in sys.stdin:
        arguments = json.loads(line)
        result = getattr(tasks, arguments.pop("task"))(**arguments)
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
