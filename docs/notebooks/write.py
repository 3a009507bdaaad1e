"""Writes what all notebooks share: the link to Colab, the first cell, and the outputs.

    python docs/notebooks/write.py                       # links and first cells
    python docs/notebooks/write.py --execute first_search --execute plain_flax
    python docs/notebooks/write.py --execute table_searches --table nasbench201.npz

The extra `docs` holds what `--execute` needs. A notebook is executed in a folder that
is removed afterwards.
"""

import argparse
import json
import pathlib
import tempfile
from typing import Any

# The public address of the repository. OWNER is a placeholder until it has one.
ADDRESS = "https://github.com/OWNER/egnas_jax"

FOLDER = pathlib.Path(__file__).resolve().parent
COLAB = "https://colab.research.google.com"
BADGE = "[![Open in Colab]("
EXTRAS = {"take_away": "export"}  # notebook -> extras of the package
MORE_PACKAGES = {"take_away": ("onnxruntime",)}
INSTALL = """\
# Installs the package where it is missing, as on Colab.
import importlib.util
import subprocess
import sys

packages = {packages}
if importlib.util.find_spec("egnas_jax") is None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *packages], check=True)"""


def badge(name: str) -> str:
    """The line of Markdown that opens a notebook in Colab."""
    page = ADDRESS.removeprefix("https://github.com")
    link = f"{COLAB}/github{page}/blob/main/docs/notebooks/{name}.ipynb"
    return f"{BADGE}{COLAB}/assets/colab-badge.svg)]({link})"


def install(name: str) -> str:
    """The source of a notebook's first cell of code."""
    extras = f"[{EXTRAS[name]}]" if name in EXTRAS else ""
    package = f"egnas-jax{extras} @ git+{ADDRESS}"
    lines = [f'    "{each}",\n' for each in (package, *MORE_PACKAGES.get(name, ()))]
    return INSTALL.format(packages=f"[\n{''.join(lines)}]")


def with_shared_cells(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """A notebook with its link below the title and the first cell of code.

    Args:
      notebook: as JSON holds it; its first cell is Markdown and begins with the title.
      name: its file name without the suffix.
    """
    title, *others = notebook["cells"]
    text = "".join(title["source"])
    heading, _, body = text.partition("\n")
    body = body.lstrip()
    if body.startswith(BADGE):
        body = body.partition("\n")[2].lstrip()
    title = title | {"source": as_lines(f"{heading}\n\n{badge(name)}\n\n{body}")}
    first = {
        "cell_type": "code",
        "execution_count": None,
        "id": "install",
        "metadata": {},
        "outputs": [],
        "source": as_lines(install(name)),
    }
    if others[0]["id"] == first["id"]:
        first["execution_count"] = others.pop(0)["execution_count"]
    return notebook | {"cells": [title, first, *others]}


def as_lines(text: str) -> list[str]:
    """The source of a cell, as the file holds it."""
    return text.splitlines(keepends=True)


def executed(notebook: dict[str, Any], table: str | None) -> dict[str, Any]:
    """A notebook with the outputs that a fresh kernel gives, without dates and times.

    Args:
      notebook: as JSON holds it.
      table: file of NAS-Bench-201 for `nasbench201.npz`, or None.
    """
    import nbformat
    from nbclient import NotebookClient

    node = nbformat.from_dict(notebook)
    for cell in node.cells:
        cell.source = "".join(cell.source)
    with tempfile.TemporaryDirectory() as folder:
        if table is not None:
            source = pathlib.Path(table).resolve()
            (pathlib.Path(folder) / "nasbench201.npz").symlink_to(source)
        place = {"metadata": {"path": folder}}
        NotebookClient(
            node, timeout=600, coalesce_streams=True, resources=place
        ).execute()
    for cell in node.cells:
        cell.metadata.pop("execution", None)
    node.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    nbformat.validate(node)
    return json.loads(nbformat.writes(node))


def main() -> None:
    """Writes all notebooks, and executes those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--execute", action="append", default=[], metavar="NAME")
    parser.add_argument("--table", metavar="FILE.npz", help="NAS-Bench-201")
    options = parser.parse_args()
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = with_shared_cells(json.loads(path.read_text()), path.stem)
        if path.stem in options.execute:
            notebook = executed(notebook, options.table)
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        path.write_text(text + "\n")


if __name__ == "__main__":
    main()
