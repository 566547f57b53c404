"""The field types of an experiment's models: each reads one kind of value and says in the schema what it takes."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.fields import ComputedFieldInfo, FieldInfo

from controller.experiment import units
from controller.experiment.mistakes import expected, shown

MAX_CONNECTIONS = 100_000
MAX_REQUESTS = 10**12
MAX_RATE_PER_S = 10**7
MAX_DURATION_S = 366 * 24 * 3600.0
PERCENTILE_DIGITS = 9
MAX_TIMEOUT_S = 3600.0
MAX_IN_FLIGHT = 1_000_000
MAX_SEED = 2**63 - 1
MAX_NAME_CHARACTERS = 100
_STAGE_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_GO_DURATION = r"^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$"

Row = dict[str, str | int | float | bool]


def _title(name: str, field: FieldInfo | ComputedFieldInfo) -> str:
    return field.alias or name


class Model(BaseModel):
    """A part of an experiment: frozen, and read by the names that YAML has for its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True, field_title_generator=_title)


def _rate(value: object) -> Decimal:
    found = units.number(value, "a number of requests per second")
    if found > MAX_RATE_PER_S or 0 < found < Decimal("0.000001"):
        raise expected(f"a rate from 0.000001 to {MAX_RATE_PER_S} requests per second", value)
    return found


def _positive_rate(value: object) -> Decimal:
    rate = _rate(value)
    if rate <= 0:
        raise expected("more than 0 requests per second (as fast as answers come is qps: -1)", value)
    return rate


def _level(value: object) -> Decimal:
    rate = _rate(value)
    if rate < 0:
        raise expected("0 requests per second or more", value)
    return rate


def _share(value: object) -> Decimal:
    found = units.number(value, "a share from 0 to 1, such as 0.01")
    if not 0 <= found <= 1 or 0 < found < Decimal("0.000001"):
        raise expected("a share from 0.000001 to 1, or 0", value)
    return found


def _percentile(value: object) -> Decimal:
    found = units.number(value, "a percentile above 0 and at most 100")
    if not 0 < found <= 100:
        raise expected("a percentile above 0 and at most 100", value)
    if found != round(found, PERCENTILE_DIGITS):
        raise expected(f"a percentile with at most {PERCENTILE_DIGITS} decimals", value)
    return Decimal(units.plain(found))


def _confidence(value: object) -> float:
    found = units.number(value, "a number above 0 and below 1, such as 0.95")
    if not 0 < found < 1:
        raise expected("a number above 0 and below 1, such as 0.95", value)
    return float(found)


def _agents(value: object) -> int | str:
    if value == "auto":
        return "auto"
    try:
        return units.whole(1, 10_000)(value)
    except ValueError:
        raise expected('a whole number from 1 to 10000, or "auto"', value) from None


def _stage_name(value: object) -> str:
    what = f"a stage's name: up to {MAX_NAME_CHARACTERS} letters, digits and . _ -, because it names metrics"
    if isinstance(value, str) and _STAGE_NAME.fullmatch(value):
        return value
    hint = f'write "{value}"' if type(value) in (int, float) else ""
    raise expected(what, value, hint=hint)


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise expected("the name of an environment variable, such as API_TOKEN", value)
    return value


def _http2(value: object) -> bool | str:
    if isinstance(value, bool) or value == "prior-knowledge":
        return value
    raise expected('true, false or "prior-knowledge"', value)


def _tls_version(value: object) -> str:
    found = str(value) if type(value) is float else value  # 1.2 without quotes is a number
    return units.one_of("1.2", "1.3")(found)


def _alpn(value: object) -> str:
    found = units.some_text(value)
    if not found.isascii() or not found.isprintable() or len(found) > 255:
        raise expected("the name of a protocol in ASCII, such as http/1.1", value)
    return found


def _rows(value: object) -> list[Row]:
    if not isinstance(value, list) or not value:
        raise expected("a list of rows, each a map from column to value", value)
    return [_row(row, number) for number, row in enumerate(value)]


def _row(value: object, number: int) -> Row:
    if not isinstance(value, dict):
        raise expected(f"a map from column to value as row {number}", value)
    for column, cell in value.items():
        if not isinstance(cell, str | int | float | bool):
            raise expected(f"text, a number, true or false in column {shown(column)} of row {number}", cell)
    return value


def exactly_one(part: Model, *fields: str) -> str:
    """Which one of the fields is given; a ValueError if none is, or more than one."""
    given = [field for field in fields if getattr(part, field) is not None]
    if len(given) != 1:
        names = [type(part).model_fields[field].alias or field for field in fields]
        got = (
            "nothing" if not given else " and ".join(name for name, f in zip(names, fields, strict=True) if f in given)
        )
        raise ValueError(f"expected one of {', '.join(names)}, got {got}")
    return given[0]


def _whole_schema(least: int, most: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": least, "maximum": most})


_duration_schema = WithJsonSchema({"type": "string", "pattern": _GO_DURATION})
_url_schema = WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://"})

Text = Annotated[str, BeforeValidator(units.text)]
SomeText = Annotated[str, BeforeValidator(units.some_text), WithJsonSchema({"type": "string", "minLength": 1})]
HeaderValue = Annotated[str, BeforeValidator(units.header_value)]
Truth = Annotated[bool, BeforeValidator(units.truth)]
Url = Annotated[str, BeforeValidator(units.url), _url_schema]
TargetUrl = Annotated[str, BeforeValidator(units.target_url), _url_schema]
Method = Annotated[str, BeforeValidator(units.method)]
Headers = Annotated[dict[str, str], BeforeValidator(units.headers)]
Requests = Annotated[int, BeforeValidator(units.whole(1, MAX_REQUESTS)), _whole_schema(1, MAX_REQUESTS)]
Connections = Annotated[int, BeforeValidator(units.whole(1, MAX_CONNECTIONS)), _whole_schema(1, MAX_CONNECTIONS)]
InFlight = Annotated[int, BeforeValidator(units.whole(1, MAX_IN_FLIGHT)), _whole_schema(1, MAX_IN_FLIGHT)]
Users = Annotated[int, BeforeValidator(units.whole(0, MAX_CONNECTIONS)), _whole_schema(0, MAX_CONNECTIONS)]
Seed = Annotated[int, BeforeValidator(units.whole(0, MAX_SEED)), _whole_schema(0, MAX_SEED)]
Weight = Annotated[int, BeforeValidator(units.whole(1, 10_000)), _whole_schema(1, 10_000)]
Streams = Annotated[int, BeforeValidator(units.whole(1, 1000)), _whole_schema(1, 1000)]
Redirects = Annotated[int, BeforeValidator(units.whole(0, 20)), _whole_schema(0, 20)]
Bytes = Annotated[int, BeforeValidator(units.whole(0, 10**12)), _whole_schema(0, 10**12)]
Status = Annotated[int, BeforeValidator(units.whole(-1, 999)), _whole_schema(-1, 999)]
Length = Annotated[float, BeforeValidator(units.seconds(0.001, MAX_DURATION_S, "30s")), _duration_schema]
Timeout = Annotated[float, BeforeValidator(units.seconds(0.001, MAX_TIMEOUT_S, "3s")), _duration_schema]
Instant = Annotated[float, BeforeValidator(units.seconds(0.0, MAX_DURATION_S, "10s")), _duration_schema]
Pause = Annotated[float, BeforeValidator(units.seconds(0.0, MAX_TIMEOUT_S, "500ms")), _duration_schema]
Rate = Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema({"type": "number", "maximum": MAX_RATE_PER_S})]
PositiveRate = Annotated[
    Decimal,
    BeforeValidator(_positive_rate),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": MAX_RATE_PER_S}),
]
Level = Annotated[
    Decimal, BeforeValidator(_level), WithJsonSchema({"type": "number", "minimum": 0, "maximum": MAX_RATE_PER_S})
]
Share = Annotated[Decimal, BeforeValidator(_share), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
StageName = Annotated[
    str, BeforeValidator(_stage_name), WithJsonSchema({"type": "string", "pattern": f"^{_STAGE_NAME.pattern}$"})
]
Variable = Annotated[
    str, BeforeValidator(_variable), WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$"})
]
TlsVersion = Annotated[
    Literal["1.2", "1.3"], BeforeValidator(_tls_version), WithJsonSchema({"enum": ["1.2", "1.3", 1.2, 1.3]})
]
Alpn = Annotated[str, BeforeValidator(_alpn), WithJsonSchema({"type": "string", "minLength": 1})]
Http2 = Annotated[
    bool | Literal["prior-knowledge"],
    BeforeValidator(_http2),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"const": "prior-knowledge"}]}),
]
Rows = Annotated[
    tuple[Row, ...],
    BeforeValidator(_rows),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
        }
    ),
]
Percentile = Annotated[
    Decimal,
    BeforeValidator(_percentile),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 100}),
]
Confidence = Annotated[
    float,
    BeforeValidator(_confidence),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
Agents = Annotated[
    int | Literal["auto"],
    BeforeValidator(_agents),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 10_000}, {"const": "auto"}]}),
]


def _expect(value: object) -> str:
    return units.one_of("success", "errors")(value)


def _on_agent_loss(value: object) -> str:
    return units.one_of("fail", "degrade", "redistribute")(value)


def _arrival(value: object) -> str:
    return units.one_of("uniform", "poisson")(value)


def _data_format(value: object) -> str:
    return units.one_of("csv", "json-lines")(value)


Arrival = Annotated[Literal["uniform", "poisson"], BeforeValidator(_arrival)]
DataFormat = Annotated[Literal["csv", "json-lines"], BeforeValidator(_data_format)]
Expect = Annotated[Literal["success", "errors"], BeforeValidator(_expect)]
OnAgentLoss = Annotated[Literal["fail", "degrade", "redistribute"], BeforeValidator(_on_agent_loss)]


def _distinct(found: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    return tuple(dict.fromkeys(found))


Percentiles = Annotated[tuple[Percentile, ...], AfterValidator(_distinct)]
