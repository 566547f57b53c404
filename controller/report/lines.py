"""The lines of which the text report is made: headings, wrapped sentences, tables in Iter8's form."""

import textwrap
from collections.abc import Iterable, Sequence

from controller.report.numbers import printable

WIDTH = 80
INDENT = "  "
Rows = Iterable[Sequence[str]]


def heading(title: str) -> list[str]:
    """A heading as Iter8 underlines it."""
    return ["", title, "*" * len(title), ""]


def said(text: str, bullet: str = "") -> list[str]:
    """A sentence, wrapped."""
    indent = INDENT + " " * len(bullet)
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=INDENT + bullet, subsequent_indent=indent, break_on_hyphens=False
    )


def table(header: Sequence[str], rows: Rows) -> list[str]:
    """Columns as wide as what is in them."""
    cells = [header, ["-" * len(title) for title in header], *rows]
    cells = [[printable(cell) for cell in row] for row in cells]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        (INDENT + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
