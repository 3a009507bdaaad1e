"""A report's text: Markdown with links, and one HTML page that needs no other file."""

import base64
import html
from typing import NamedTuple

from egnas_jax.studies.report.tables import Table

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
code {{ font-size: 0.85rem; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


class Picture(NamedTuple):
    """A figure with its data.

    Attributes:
      name: of its files.
      title, text: above and below it.
      svg, csv: their contents.
    """

    name: str
    title: str
    text: str
    svg: str
    csv: str


class Section(NamedTuple):
    """Attributes:
    title: its heading.
    text: before its tables and figures.
    tables, pictures: in order.
    """

    title: str
    text: str
    tables: list[Table]
    pictures: list[Picture]


def markdown(title: str, sections: list[Section]) -> str:
    """The report as Markdown; figures and data are files beside it."""
    parts = [f"# {title}", ""]
    for section in sections:
        parts += [f"## {section.title}", "", section.text, ""]
        for table in section.tables:
            parts += [f"### {table.title}", "", markdown_table(table)]
        for picture in section.pictures:
            parts += [
                f"### {picture.title}",
                "",
                f"![{picture.title}]({picture.name}.svg)",
                "",
                f"{picture.text} Data: [{picture.name}.csv]({picture.name}.csv).",
                "",
            ]
    return "\n".join(parts)


def markdown_table(table: Table) -> str:
    """One table, its note below."""

    def line(cells):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rows = [line(table.header), "|---" * len(table.header) + "|"]
    note = ["", table.note] if table.note else []
    return "\n".join([*rows, *map(line, table.rows), *note, ""])


def html_page(title: str, sections: list[Section]) -> str:
    """The report as one page: pictures are in it, data follow their pictures."""
    parts = [HEAD.format(title=html.escape(title))]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>\n")
        parts.append(f"<p>{html.escape(section.text)}</p>\n")
        parts += map(_html_table, section.tables)
        parts += map(_html_picture, section.pictures)
    return "".join(parts) + "</body>\n</html>\n"


def _html_table(table: Table) -> str:
    def line(cells, tag):
        inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>\n"

    rows = line(table.header, "th") + "".join(line(row, "td") for row in table.rows)
    note = f'<p class="note">{html.escape(table.note)}</p>\n' if table.note else ""
    return (
        f"<h3>{html.escape(table.title)}</h3>\n"
        f'<div class="wide"><table>\n{rows}</table></div>\n{note}'
    )


def _html_picture(picture: Picture) -> str:
    # an image of its own: ids of one SVG do not meet those of another
    image, data = (
        base64.b64encode(text.encode()).decode() for text in (picture.svg, picture.csv)
    )
    title = html.escape(picture.title)
    return (
        f"<h3>{title}</h3>\n<figure>\n"
        f'<img alt="{title}" src="data:image/svg+xml;base64,{image}">\n'
        f"<figcaption>{html.escape(picture.text)} "
        f'<a download="{picture.name}.csv" href="data:text/csv;base64,{data}">Data'
        f"</a></figcaption>\n</figure>\n"
    )
