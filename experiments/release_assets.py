"""Trains the networks that a release offers for download, and packs them.

A searched supernet and the network of its cell, both on scikit-learn's digits by the
default presets, are run directories in a zip file each, and SHA256SUMS is written
beside them. `egnas_jax.load_search` and `load_network` read what is unpacked.

Command: python experiments/release_assets.py --out OUT
"""

import argparse
import hashlib
import pathlib
import zipfile

import command_line

import egnas_jax as eg

# files of a run directory that belong to its process or its machine
LEFT_OUT = ("startup.log", ".lock", ".lock.owner", ".lock.lease", "environment.json")


def main(arguments: list[str] | None = None) -> None:
    """Trains what is missing, packs it, and prints the sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = "folder of the runs and of the zip files"
    parser.add_argument("--out", type=command_line.absolute, required=True, help=text)
    add = parser.add_argument
    text = "PATH=VALUE of the search"
    add("--search", type=command_line.setting, action="append", default=[], help=text)
    text = "PATH=VALUE of the retraining"
    add("--retrain", type=command_line.setting, action="append", default=[], help=text)
    options = parser.parse_args(arguments)
    for line in make_assets(options.out, options.search, options.retrain):
        print(line)


def make_assets(
    out: pathlib.Path, search: list[str] = (), retrain: list[str] = ()
) -> list[str]:
    """Trains and packs the supernet and the network.

    Args:
      out: folder of the runs and of the zip files. Runs that it holds are gone on with.
      search, retrain: "path=value" of their settings, beside those of the preset.

    Returns:
      The lines of SHA256SUMS.
    """
    keep = {"keep_checkpoints": 1}
    config = eg.search_config("digits", settings=keep | _settings(search))
    folder = out / "digits_supernet"
    search_result = eg.run_search(config, out=folder, resume=folder.exists())
    config = eg.retrain_config("digits", settings=keep | _settings(retrain))
    folder = out / "digits_network"
    eg.run_retraining(
        search_result.genotype, config, out=folder, resume=folder.exists()
    )
    lines = [f"{pack(run)}  {run.name}.zip" for run in (search_result.folder, folder)]
    (out / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    return lines


def pack(run: pathlib.Path) -> str:
    """Writes a run directory to a zip file beside it; returns the file's sha256."""
    target = run.parent / f"{run.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(run.rglob("*")):
            if path.is_file() and path.name not in LEFT_OUT:
                file.write(path, path.relative_to(run.parent))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def _settings(entries: list[str]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in entries)


if __name__ == "__main__":
    main()
