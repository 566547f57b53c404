"""Leaves out of a report what is nobody's business: the values of headers and fields that hold secrets."""

from typing import Any

SECRET_WORDS = ("authorization", "cookie", "token", "password", "passwd", "secret", "api-key", "apikey")


def redacted(value: Any) -> Any:
    """The value without what looks like a credential: reports travel further than experiments."""
    match value:
        case dict():
            return {
                str(key): "(redacted)"
                if isinstance(part, str) and any(word in str(key).lower() for word in SECRET_WORDS)
                else redacted(part)
                for key, part in value.items()
            }
        case list() | tuple():
            return [redacted(part) for part in value]
        case _:
            return value
