"""The field types of an experiment's models: each reads one kind of value and says in the schema what it takes."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.fields import ComputedFieldInfo, FieldInfo

from controller.experiment import units
from controller.experiment.mistakes import expected

MAX_CONNECTIONS = 100_000
MAX_REQUESTS = 10**12
MAX_RATE_PER_S = 10**7
MAX_DURATION_S = 366 * 24 * 3600.0
PERCENTILE_DIGITS = 9
MAX_TIMEOUT_S = 3600.0
_GO_DURATION = r"^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$"


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


def _whole_schema(least: int, most: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": least, "maximum": most})


_duration_schema = WithJsonSchema({"type": "string", "pattern": _GO_DURATION})
_url_schema = WithJsonSchema({"type": "string", "format": "uri", "pattern": "^https?://"})

Text = Annotated[str, BeforeValidator(units.text)]
SomeText = Annotated[str, BeforeValidator(units.some_text), WithJsonSchema({"type": "string", "minLength": 1})]
HeaderValue = Annotated[str, BeforeValidator(units.header_value)]
Truth = Annotated[bool, BeforeValidator(units.truth)]
Url = Annotated[str, BeforeValidator(units.url), _url_schema]
Method = Annotated[str, BeforeValidator(units.method)]
Headers = Annotated[dict[str, str], BeforeValidator(units.headers)]
Requests = Annotated[int, BeforeValidator(units.whole(1, MAX_REQUESTS)), _whole_schema(1, MAX_REQUESTS)]
Connections = Annotated[int, BeforeValidator(units.whole(1, MAX_CONNECTIONS)), _whole_schema(1, MAX_CONNECTIONS)]
Status = Annotated[int, BeforeValidator(units.whole(-1, 999)), _whole_schema(-1, 999)]
Length = Annotated[float, BeforeValidator(units.seconds(0.001, MAX_DURATION_S, "30s")), _duration_schema]
Timeout = Annotated[float, BeforeValidator(units.seconds(0.001, MAX_TIMEOUT_S, "3s")), _duration_schema]
Rate = Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema({"type": "number", "maximum": MAX_RATE_PER_S})]
PositiveRate = Annotated[
    Decimal,
    BeforeValidator(_positive_rate),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": MAX_RATE_PER_S}),
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


Expect = Annotated[Literal["success", "errors"], BeforeValidator(_expect)]
OnAgentLoss = Annotated[Literal["fail", "degrade", "redistribute"], BeforeValidator(_on_agent_loss)]


def _distinct(found: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
    return tuple(dict.fromkeys(found))


Percentiles = Annotated[tuple[Percentile, ...], AfterValidator(_distinct)]
