"""A result as text, HTML, JSON, JUnit or Markdown; a format is loaded when it is asked for."""

from importlib import import_module

from controller.errors import BadInputError
from controller.report.document import ReportInput

__all__ = ["FORMATS", "ReportInput", "render"]

FORMATS = ("text", "html", "json", "junit", "markdown")


def render(document: ReportInput, format_name: str) -> str:
    """The report in one of `FORMATS`, named in any case; the same input gives the same text."""
    name = format_name.lower()
    if name not in FORMATS:
        expected = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise BadInputError(f"unsupported report format '{format_name}': expected {expected}")
    module = import_module(f"controller.report.{'json_' if name == 'json' else name}")
    text: str = module.render(document)
    return text
