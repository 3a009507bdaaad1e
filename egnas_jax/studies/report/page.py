"""Renders a report as Markdown with links and as one self-contained HTML page."""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

from egnas_jax.studies.tables import markdown_table

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem; }}
img {{ max-width: 100%; height: auto; }}
figure {{ margin: 1rem 0 2rem; }}
figcaption, .note {{ color: #444; font-size: 0.9rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.9rem; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.3rem 0.7rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; min-width: 3rem; }}
th {{ overflow-wrap: normal; }}
code {{ font-size: 0.85rem; overflow-wrap: anywhere; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #16181c; color: #e4e4e4; }}
  a {{ color: #8ab4f8; }}
  figcaption, .note {{ color: #b8b8b8; }}
  th, td {{ border-color: #444; }}
  img {{ background: #fff; border-radius: 4px; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
"""


class ReportTable(NamedTuple):
    """A table of texts.

    Attributes:
      title: heading above it.
      header, rows: texts of the cells.
      note: text below it.
    """

    title: str
    header: Sequence[str]
    rows: list[tuple[str, ...]]
    note: str = ""


class Figure(NamedTuple):
    """A plotted figure with its data.

    Attributes:
      name: stem of its files.
      title: heading above it.
      text: caption below it.
      svg, csv: contents of its files.
    """

    name: str
    title: str
    text: str
    svg: str
    csv: str


class Section(NamedTuple):
    """One part of a report.

    Attributes:
      title: its heading.
      text: introduction.
      tables, figures: contents, in order.
    """

    title: str
    text: str
    tables: list[ReportTable]
    figures: list[Figure]


def markdown(title: str, sections: list[Section]) -> str:
    """The report as Markdown, which links to the files of its figures."""
    parts = [f"# {title}", ""]
    for section in sections:
        parts += [f"## {section.title}", "", section.text, ""]
        for table in section.tables:
            text = markdown_table(table.header, table.rows, table.note)
            parts += [f"### {table.title}", "", text]
        for figure in section.figures:
            data = f"{figure.name}.csv"
            parts += [f"### {figure.title}", ""]
            parts += [f"![{figure.title}]({figure.name}.svg)", ""]
            parts += [f"{figure.text} Data: [{data}]({data}).", ""]
    return "\n".join(parts)


def html_page(title: str, sections: list[Section]) -> str:
    """The report as one HTML page, with figures and their data inside it."""
    parts = [HEAD.format(title=html.escape(title))]
    for section in sections:
        parts += [_element("h2", section.title), _element("p", section.text)]
        parts += map(_html_table, section.tables)
        parts += map(_html_figure, section.figures)
    return "".join(parts) + "</body>\n</html>\n"


def _element(tag: str, text: str, attributes: str = "", end: str = "\n") -> str:
    return f"<{tag}{attributes}>{html.escape(text)}</{tag}>{end}"


def _html_table(table: ReportTable) -> str:
    rows = "".join(
        f"<tr>{''.join(_element(tag, cell, end='') for cell in cells)}</tr>\n"
        for tag, cells in [("th", table.header), *(("td", row) for row in table.rows)]
    )
    note = _element("p", table.note, ' class="note"') if table.note else ""
    title = _element("h3", table.title)
    return f'{title}<div class="wide"><table>\n{rows}</table></div>\n{note}'


def _html_figure(figure: Figure) -> str:
    # Each SVG is an image of its own, so that the ids of two SVGs do not clash.
    image, data = (
        base64.b64encode(text.encode()).decode() for text in (figure.svg, figure.csv)
    )
    title = _element("h3", figure.title)
    return (
        f"{title}<figure>\n"
        f'<img alt="{html.escape(figure.title)}" '
        f'src="data:image/svg+xml;base64,{image}">\n'
        f"<figcaption>{html.escape(figure.text)} "
        f'<a download="{figure.name}.csv" href="data:text/csv;base64,{data}">Data'
        f"</a></figcaption>\n</figure>\n"
    )
