"""One side of a benchmark as a process that does one task a line.

Each side has a process of its own: threads, malloc settings and compilation caches of
the one cannot disturb the other, and what is timed is timed inside.

Protocol: a JSON object a line in, {"task", ...arguments}; one a line out.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys


class WorkerError(RuntimeError):
    """A side's process ended without an answer."""


class Worker:
    """A running side; call it with a task and its arguments."""

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
        """Sends a task; `finish` waits for it, and says where nobody took it."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self.process.stdin.flush()

    def finish(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError("A benchmark process ended; its error stands above.")
        return json.loads(line)

    def __call__(self, task: str, **arguments) -> dict:
        self.start(task, **arguments)
        return self.finish()

    def close(self) -> None:
        """Ends the process after its task; one that crashed has ended."""
        with contextlib.suppress(BrokenPipeError):  # what it did not take any more
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
    own = _make(side, pathlib.Path(folder), json.loads(options))
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may print there
    for line in sys.stdin:
        arguments = json.loads(line)
        result = getattr(own, arguments.pop("task"))(**arguments)
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
