"""Table 2 of the report: test errors of a cell trained with 4 seeds for 600 epochs.

In pieces of any length. Each call goes on where the last one ended, also where that was
killed, and says how far the seeds have come; the table is written when all have ended.

Claim: the report's cell has 2.73 % test error on CIFAR-10 (4 seeds) and 17.91 % on
CIFAR-100. Not yet reproduced: see experiments/README.md for how far it came.

Command: python experiments/table2.py --genotype GENOTYPE --out OUT --data-dir DIR
  --preset cifar100 for the other column; --minutes M or --epochs-now N ends this piece;
  --set PATH=VALUE as `egnas retrain` takes it, the same in every piece.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import methods

from egnas_jax import recipes, record
from egnas_jax.config import as_dict, differences
from egnas_jax.console import read_genotype
from egnas_jax.retrain import table

INTERRUPTED = 130  # the command's exit code after a checkpoint


def run_until(command: list[str], deadline: float | None) -> int:
    """Runs a command, and asks it to stop with a checkpoint when its time is up.

    Args:
      command: of `egnas`.
      deadline: of `time.monotonic`, or None.

    Returns:
      Its exit code; of one that was asked to stop 0 or INTERRUPTED.
    """
    with subprocess.Popen([sys.executable, "-m", "egnas_jax", *command]) as process:
        try:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            return process.wait(left)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            # while it starts it does not listen yet, and dies with a code of Python's;
            # a failure of its own would come again in the next piece
            return process.wait() and INTERRUPTED
        except KeyboardInterrupt:
            # Ctrl-C reaches the command too, and a second one would stop it at once
            return process.wait()


def summary_of(folder: pathlib.Path, epochs: int) -> dict | None:
    """The summary of a run that has ended, or None.

    A piece that is interrupted leaves that of the piece before, also where its last
    epoch is recorded already.
    """
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    return summary if summary.get("epochs") == epochs else None


def epochs_of(folder: pathlib.Path) -> int:
    """Epochs that a run has recorded."""
    path = folder / "metrics.jsonl"
    return len(record.read(path)) if path.exists() else 0


def piece(
    options: argparse.Namespace, epochs: int, run: Callable = run_until
) -> list[pathlib.Path]:
    """Carries the seeds forward, one after another, as far as this call may.

    Args:
      options: of the command line.
      epochs: of a whole run.
      run: as `run_until`.

    Returns:
      The folders of the seeds.

    Raises:
      SystemExit: a run failed, with its code.
    """
    folders = [options.out / f"seed{seed}" for seed in range(options.seeds)]
    minutes, left = options.minutes, options.epochs_now
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    for seed, folder in enumerate(folders):
        done = epochs_of(folder)
        if summary_of(folder, epochs):
            continue
        if left == 0 or (deadline is not None and time.monotonic() >= deadline):
            break
        goal = epochs if left is None else min(epochs, done + left)
        command = ["retrain", "--genotype", options.genotype, "--preset",
                   options.preset, "--out", str(folder), "--resume"]  # fmt: skip
        settings = [f"seed={seed}", *options.settings]
        command += [word for one in settings for word in ("--set", one)]
        command += ["--data-dir", options.data_dir] if options.data_dir else []
        code = run([*command, "--stop-after", str(max(goal, 1))], deadline)
        if code not in (0, INTERRUPTED):
            raise SystemExit(code)
        if left is not None:
            left -= epochs_of(folder) - done
        if code == INTERRUPTED:
            break
    return folders


def changes(path: pathlib.Path, config: recipes.RetrainConfig) -> list[str]:
    """How a training differs from that of the first piece, which the file keeps."""
    if path.exists():
        return differences(recipes.from_dict(json.loads(path.read_text())), config)
    path.parent.mkdir(parents=True, exist_ok=True)
    record.write_json(path, as_dict(config))
    return []


def progress(folders: list[pathlib.Path], epochs: int) -> str:
    """How far each seed has come, a line each."""
    lines = []
    for folder in folders:
        done = epochs_of(folder)
        text = f"{folder.name}: {done} of {epochs} epochs"
        if done:
            records = record.read(folder / "metrics.jsonl")
            tested = [r["test_error"] for r in records if r["test_error"] is not None]
            seconds = sum(line["seconds"] for line in records)
            text += f", test error {100 * tested[-1]:.2f} %, {seconds:.0f} s"
        lines.append(text)
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None, run: Callable = run_until) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genotype", required=True)
    parser.add_argument("--preset", default="cifar10")
    parser.add_argument("--data-dir")
    parser.add_argument("--set", action="append", default=[], dest="settings",
                        type=methods.unseeded)  # fmt: skip
    parser.add_argument("--seeds", type=methods.counted, default=4)
    parser.add_argument("--epochs-now", type=methods.counted, metavar="N",
                        help="end this piece after N epochs of all seeds")  # fmt: skip
    parser.add_argument("--minutes", type=float, metavar="M",
                        help="end this piece after so long")  # fmt: skip
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args(arguments)
    try:
        genotype = read_genotype(options.genotype)
        config = recipes.build(genotype, options.preset, overrides=options.settings)
    except ValueError as error:
        parser.error(str(error))
    changed = changes(options.out / "table2.json", config)
    if changed:
        parser.error(
            f"{options.out} holds another training: {'; '.join(changed)}. Name another "
            f"--out."
        )
    # where it was started in the background, the runs would not hear of their end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folders = piece(options, config.epochs, run)
    print(progress(folders, config.epochs), end="")
    summaries = [summary_of(folder, config.epochs) for folder in folders]
    if all(summaries):
        own = [
            {"seed": seed, "run": str(folder)} for seed, folder in enumerate(folders)
        ]
        whole = table.aggregate([a | b for a, b in zip(summaries, own, strict=True)])
        table.write(options.out, whole)
        print(table.markdown(whole), end="")


if __name__ == "__main__":
    main()
