"""The marks of which the Markdown report is made: text that means nothing but itself, and tables."""

import re
from collections.abc import Sequence

from controller.report.numbers import printable

# A zero-width space keeps a name from calling people or linking issues; a backslash the rest from being markup.
MENTION = re.compile(r"([@#])(?=\w)")
MARKUP = re.compile(r"([\\`*_\[\]~|])")
ABSENT = "—"


def text(text: str) -> str:
    """The text, meaning nothing but itself."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MENTION.sub("\\1\u200b", MARKUP.sub(r"\\\1", text))


def code(text: str) -> str:
    """The text as it may stand between backticks."""
    return printable(text).replace("`", "'").replace("|", "\\|")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """A table; from the column `numbers_from` on, cells are set to the right."""
    rule = ["---" if column < numbers_from else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
