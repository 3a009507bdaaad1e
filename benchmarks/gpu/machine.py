"""Finds the GPU of this machine, and CIFAR-10."""

import argparse
import pathlib
import re
import shutil
import subprocess

from benchmarks import packed_images
from egnas_jax.data.files.layouts import LAYOUTS

GPU_LINE = re.compile(r"^GPU \d+: (?P<name>.+?)(?: \(UUID.*)?$", re.MULTILINE)


def device_name(platform: str) -> str | None:
    """Name of the first GPU as the driver reports it; None where there is none."""
    if platform == "cpu":
        return "CPU"
    if shutil.which("nvidia-smi") is None:
        return None
    answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    # a driver that fails writes its message to stdout, too
    line = GPU_LINE.search(answer.stdout) if answer.returncode == 0 else None
    return line["name"] if line else None


def data_folder(options: argparse.Namespace) -> pathlib.Path | None:
    """Where CIFAR-10 is; None where it is not there, or not all of its pieces.

    Raises:
      ValueError: a piece is damaged, or --data-dir is no folder.
    """
    if options.data_dir is not None:
        if not options.data_dir.is_dir():
            raise ValueError(
                f"--data-dir: there is no folder {options.data_dir}. Name the one "
                f"that holds CIFAR-10, or leave it out."
            )
        return options.data_dir
    folder, layout = options.out / "data", LAYOUTS["cifar10"][0]
    if packed_images.is_unpacked(folder, layout):
        return folder
    if options.pieces and packed_images.unpack(options.pieces, folder, layout):
        return folder
    return None
