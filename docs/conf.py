"""Configures the documentation site: `make docs` builds it with Sphinx.

Sphinx, with furo and MyST, reads the same Markdown that people read in the repository,
makes the reference from the docstrings, and is kept by many.
"""

import os
import pathlib
import re

import egnas_jax

project = "egnas_jax"
release = version = egnas_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]

html_theme = "furo"
html_show_copyright = False
html_title = "egnas_jax"

myst_heading_anchors = 3  # links such as retrain.md#export
highlight_language = "text"  # of a fence that names none
default_role = "code"  # `name` in a docstring
nb_execution_mode = "off"  # the outputs are in the notebooks; a test executes them

autodoc_typehints = "none"  # signatures hold them, docstrings give shapes and units
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
smartquotes = False  # "auto" is a value
# One entry for "a, b: text".
napoleon_custom_sections = [("Args", "params_style"), ("Attributes", "params_style")]

# Pages that show a file from outside of docs/. Links to the file lead to the page.
PAGES = {
    "README.md": "docs/index.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "CHANGELOG.md": "docs/changelog.md",
    "benchmarks/README.md": "docs/lab/benchmarks.md",
    "benchmarks/scaling.md": "docs/lab/scaling.md",
    "experiments/README.md": "docs/lab/experiments.md",
}
ROOT = pathlib.Path(__file__).parents[1]
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def relink(text: str, folder: pathlib.Path, page: pathlib.Path) -> str:
    """Writes the relative links of a Markdown text as a page of the site needs them.

    Args:
      text: with links relative to `folder`, as a file browser follows them.
      folder: where the file lies.
      page: the page that shows the text.

    Returns:
      The text. Links to files in `PAGES` lead to their pages, others to the files
      themselves, and a link to a folder becomes plain text.
    """

    def write(link: re.Match) -> str:
        target = (folder / link[1]).resolve()
        if target.is_dir():
            return "]"
        inside = str(target.relative_to(ROOT))
        target = ROOT / PAGES.get(inside, inside)
        return f"]({os.path.relpath(target, page.parent)}{link[2] or ''})"

    return LINK.sub(write, text)


def setup(app):
    """Relinks every page, and every file that a page includes."""

    def on_source(app, name, source):
        page = pathlib.Path(app.env.doc2path(name))
        if page.suffix == ".md":
            source[0] = relink(source[0], page.parent, page)

    def on_include(app, path, name, source):
        # MyST gives the name of the page without its folder.
        page = pathlib.Path(app.env.doc2path(app.env.docname))
        folder = (pathlib.Path(app.srcdir) / path).resolve().parent
        source[0] = relink(source[0], folder, page)

    app.connect("source-read", on_source)
    app.connect("include-read", on_include)
