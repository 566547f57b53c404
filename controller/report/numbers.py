"""Numbers as people read them: enough significant digits that nothing small prints as zero, and none made up."""

import math
from typing import Any

USUAL_LOW, USUAL_HIGH = 1e-6, 1e15
DIGITS = 4
ALL_DIGITS = 17
ABSENT = "unavailable"
BYTES = "bytes"
SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def figure(value: float | None, *, digits: int = DIGITS, group: bool = False, absent: str = ABSENT) -> str:
    """The value with at least this many significant digits; whole numbers in full, exponents only at the extremes."""
    if value is None or math.isnan(value):
        return absent
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    size = abs(value)
    if size >= USUAL_HIGH or 0 < size < USUAL_LOW:
        return f"{value:.{digits}g}"
    comma = "," if group else ""
    if value == int(value):
        return f"{int(value):{comma}d}"
    # A value that rounds up to the next power of ten merely shows a digit more.
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:{comma}.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def figure_beside(value: float | None, limit: float, *, group: bool = False, absent: str = ABSENT) -> str:
    """The value with as many digits as it takes to be seen on its own side of the limit: never "50 <= 50, violated"."""
    if value is None or not math.isfinite(value):
        return figure(value, absent=absent)
    for digits in range(DIGITS, ALL_DIGITS):
        text = figure(value, digits=digits)
        if _side(float(text), limit) == _side(value, limit):
            return figure(value, digits=digits, group=group)
    return repr(value)


def _side(value: float, limit: float) -> int:
    return (value > limit) - (value < limit)


def size(value: float | None, *, digits: int = DIGITS, beside: float | None = None, absent: str = ABSENT) -> str:
    """A number of bytes as `1.235 MB`, powers of a thousand; `beside` a limit it shows on which side of it it is."""
    if value is None or not math.isfinite(value):
        return figure(value, absent=absent)
    power = 0
    while power < len(SIZES) - 1 and abs(value) >= 1000 ** (power + 1):
        power += 1
    unit = 1000**power
    text = figure(value / unit, digits=digits) if beside is None else figure_beside(value / unit, beside / unit)
    return f"{text} {SIZES[power]}"


def quantity(value: float | None, unit: str, *, group: bool = False, absent: str = ABSENT) -> str:
    """A value as its unit is best read: bytes as a size, all else as a figure."""
    return size(value, absent=absent) if unit == BYTES else figure(value, group=group, absent=absent)


def share(part: float, whole: float) -> str:
    """Part of whole in percent; empty when there is no whole."""
    return f"{figure(100 * part / whole, digits=3)}%" if whole else ""


def printable(text: str) -> str:
    """The text on one line, without what could move a terminal's cursor or can't be encoded."""
    return "".join(char if char.isprintable() else " " for char in text)


def finite(value: Any) -> Any:
    """The value without what JSON can't hold: NaN and the infinities become None."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(key): finite(part) for key, part in value.items()}
        case list() | tuple():
            return [finite(part) for part in value]
        case _:
            return value
