"""The parts of an http task's parameters that are maps of their own: stages, checks, certificates, credentials, data."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from controller.experiment import fields as f
from controller.experiment.mistakes import shown
from controller.experiment.units import plain, span

if TYPE_CHECKING:
    from protocol.messages import Check

MAX_STAGES = 1000
_FORMATS = {
    "csv": "csv",
    "jsonl": "json-lines",
    "ndjson": "json-lines",
    "jsonlines": "json-lines",
    "json-lines": "json-lines",
}


class ErrorRange(f.Model):
    """A range of status codes that count as errors; both ends belong to it."""

    lower: f.Status | None = Field(None, description="Lowest status code of the range; absent: no lower end.")
    upper: f.Status | None = Field(None, description="Highest status code of the range; absent: no upper end.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("expected lower, upper or both, got neither")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"expected lower <= upper, got {self.lower} and {self.upper}")
        return self

    def __contains__(self, status: int) -> bool:
        return (self.lower is None or status >= self.lower) and (self.upper is None or status <= self.upper)


class StageSettings(f.Model):
    """A stage of the load: over its duration, the rate (or the number of users) goes evenly from one value to another."""

    rate: f.Level | None = Field(
        None, description="Requests per second at the end of the stage, over all agents (open load).", examples=[200]
    )
    users: f.Users | None = Field(
        None, description="Users at the end of the stage, over all agents (closed load).", examples=[50]
    )
    duration_s: f.Length = Field(alias="duration", description="How long the stage is.", examples=["1m"])
    begin: f.Level | None = Field(
        None,
        alias="from",
        description="The rate, or the users, at its beginning. Default: where the stage before ends. For the first "
        "stage: the task's rate or qps, else 0; with users, the task's connections, else 1.",
        examples=[200],
    )
    name: f.StageName | None = Field(
        None,
        description="The stage's name in metrics, `http@<name>/…`. Default: its number, from 1.",
        examples=["ramp-up"],
    )

    @model_validator(mode="after")
    def _is_a_stage(self) -> Self:
        what = f.exactly_one(self, "rate", "users")
        if (
            what == "users"
            and self.begin is not None
            and (self.begin != int(self.begin) or self.begin > f.MAX_CONNECTIONS)
        ):
            raise ValueError(f"expected from to be a whole number of users, got {plain(self.begin)}")
        return self


def _some(value: object) -> object:
    # The library would count those that are valid.
    if isinstance(value, list) and not 1 <= len(value) <= MAX_STAGES:
        raise ValueError(f"expected from 1 to {MAX_STAGES} stages, got {len(value)}")
    return value


Stages = Annotated[tuple[StageSettings, ...], BeforeValidator(_some)]


class Step(f.Model):
    """A rate that goes up in equal steps. Each step is a stage, named by its rate: `http@200/latency-p99`."""

    begin: f.Level = Field(alias="from", description="Requests per second in the first step.", examples=[100])
    end: f.Level = Field(
        alias="to",
        description="No step goes beyond this rate; the last one has it where `by` leads there.",
        examples=[500],
    )
    by: f.PositiveRate = Field(description="How far one step's rate is from the next one's.", examples=[100])
    duration_s: f.Length = Field(alias="duration", description="How long each step is.", examples=["30s"])

    @model_validator(mode="after")
    def _goes_up(self) -> Self:
        if self.begin > self.end:
            raise ValueError(f"expected from <= to, got {plain(self.begin)} and {plain(self.end)}")
        if self.steps > MAX_STAGES:
            raise ValueError(f"expected at most {MAX_STAGES} steps, got {self.steps}")
        return self

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return int((self.end - self.begin) / self.by) + 1


class Spike(f.Model):
    """A rate that jumps, stays, and falls back. Its stages are named `before`, `spike` and `after`."""

    base: f.Level = Field(description="Requests per second before and after.", examples=[50])
    peak: f.PositiveRate = Field(description="Requests per second in the spike.", examples=[500])
    before_s: f.Length = Field(alias="before", description="How long the base rate is held first.", examples=["30s"])
    duration_s: f.Length = Field(alias="duration", description="How long the spike is.", examples=["10s"])
    after_s: f.Length = Field(alias="after", description="How long the base rate is held afterwards.", examples=["1m"])


class Measure(f.Model):
    """The part of a run that counts: requests planned at `from` or later, and before `to`."""

    from_s: f.Instant | None = Field(
        None,
        alias="from",
        description="Where it begins, from the start of the load.",
        json_schema_extra={"default": "0s"},
    )
    to_s: f.Instant | None = Field(
        None, alias="to", description="Where it ends. Default: with the load.", examples=["1m"]
    )

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.from_s is None and self.to_s is None:
            raise ValueError("expected from, to or both, got neither")
        if self.to_s is not None and (self.from_s or 0.0) >= self.to_s:
            raise ValueError(f"expected from < to, got {span(self.from_s or 0.0)} and {span(self.to_s)}")
        return self


class Data(f.Model):
    """Rows of data for templates, split over agents; after the last row comes the first. One of file, url and rows."""

    file: f.SomeText | None = Field(None, description="A file of rows.", examples=["users.csv"])
    url: f.Url | None = Field(None, description="A URL with rows.")
    rows: f.Rows | None = Field(None, description="The rows themselves.", examples=[[{"id": 7, "name": "Ada"}]])
    format: f.DataFormat | None = Field(
        None,
        description="What the file or URL holds: `csv`, whose first line has the columns' names, or `json-lines`, one "
        "JSON object a line. Default: by the ending, .csv, .jsonl or .ndjson.",
    )

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        if f.exactly_one(self, "file", "url", "rows") == "rows" and self.format is not None:
            raise ValueError("expected no format where the rows themselves are given")
        if self.rows is None and self.read_as is None:
            raise ValueError(
                f"the ending of {shown(self.file or self.url)} does not tell the format: give format: csv or json-lines"
            )
        return self

    @property
    def read_as(self) -> Literal["csv", "json-lines"] | None:
        """The format, given or by the ending; None for rows."""
        if self.format is not None or self.rows is not None:
            return self.format
        path = self.file if self.file is not None else urlsplit(self.url or "").path
        ending = (path or "").rpartition(".")[2].lower()
        return _FORMATS.get(ending)  # type: ignore[return-value] # the values are the formats


class Basic(f.Model):
    """A user and a password, for HTTP's basic authentication."""

    user: f.SomeText = Field(description="The user's name.", examples=["ada"])
    password_env: f.Variable | None = Field(
        None, alias="passwordEnv", description="The environment variable with the password.", examples=["API_PASSWORD"]
    )
    password_file: f.SomeText | None = Field(
        None, alias="passwordFile", description="The file with the password; a line end after it is left out."
    )

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        f.exactly_one(self, "password_env", "password_file")
        if ":" in self.user:
            raise ValueError(f"expected a user's name without a colon, got {shown(self.user)}")
        return self


class Bearer(f.Model):
    """A bearer token."""

    token_env: f.Variable | None = Field(
        None, alias="tokenEnv", description="The environment variable with the token.", examples=["API_TOKEN"]
    )
    token_file: f.SomeText | None = Field(
        None, alias="tokenFile", description="The file with the token; a line end after it is left out."
    )

    @model_validator(mode="after")
    def _has_one_token(self) -> Self:
        f.exactly_one(self, "token_env", "token_file")
        return self


class Auth(f.Model):
    """Who the requests are from, as an Authorization header. The secret is read when a run begins, and shown nowhere."""

    basic: Basic | None = Field(None, description="A user and a password.")
    bearer: Bearer | None = Field(None, description="A token.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        f.exactly_one(self, "basic", "bearer")
        return self


class CheckSettings(f.Model):
    """One check on the body of each response; a response that does not pass is an error of the class `check`."""

    contains: f.SomeText | None = Field(None, description="A text that the body contains.", examples=["in stock"])
    regex: f.SomeText | None = Field(
        None, description="A regular expression that the body matches somewhere.", examples=['"id": *[0-9]+']
    )
    json_path: f.SomeText | None = Field(
        None,
        alias="jsonPath",
        description="Where in the JSON of the body a value is; with `equals`.",
        examples=["$.items[0].id"],
    )
    equals: Any = Field(None, description="The value that is at `jsonPath`: any JSON but null.", examples=["ok"])
    max_bytes: f.Bytes | None = Field(
        None, alias="maxBytes", description="The largest size of the body, in bytes.", examples=[10000]
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        kind = f.exactly_one(self, "contains", "regex", "json_path", "max_bytes")
        if (kind == "json_path") != (self.equals is not None):
            raise ValueError("expected jsonPath and equals together")
        from protocol.checks import compile_check  # noqa: PLC0415 few experiments have checks, and it is slow to import

        compile_check(self.as_message())
        return self

    def as_message(self) -> "Check":
        """The check as agents run it."""
        import msgspec  # noqa: PLC0415 see above

        from protocol.messages import Check, CheckKind  # noqa: PLC0415

        if self.contains is not None:
            return Check(CheckKind.CONTAINS, self.contains)
        if self.regex is not None:
            return Check(CheckKind.REGEX, self.regex)
        if self.json_path is not None:
            return Check(CheckKind.JSON_PATH, self.json_path, msgspec.json.encode(self.equals).decode())
        return Check(CheckKind.MAX_BYTES, str(self.max_bytes))


class TlsSettings(f.Model):
    """How an https server is trusted, and how we show who we are. Files hold PEM."""

    ca: f.SomeText | None = Field(
        None,
        description="A file with the certificates that are trusted, in place of the system's.",
        examples=["ca.pem"],
    )
    cert: f.SomeText | None = Field(
        None, description="A file with our own certificate, and those it depends on; with key."
    )
    key: f.SomeText | None = Field(None, description="A file with our certificate's key, not encrypted; with cert.")
    insecure: f.Truth | None = Field(
        None,
        description="Whether any server is trusted. For tests of a service whose certificate nobody can check.",
        json_schema_extra={"default": False},
    )
    min_version: f.TlsVersion | None = Field(
        None, alias="minVersion", description="The lowest version of TLS.", json_schema_extra={"default": "1.2"}
    )
    server_name: f.SomeText | None = Field(
        None,
        alias="serverName",
        description="The name that the server's certificate is for, where that is not the URL's host.",
        examples=["shop.example.com"],
    )
    alpn: tuple[f.Alpn, ...] | None = Field(
        None,
        description="The protocols that we offer in the handshake. Default: `h2` where http2 is true, else `http/1.1`.",
        examples=[["http/1.1"]],
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError(f"expected cert and key together, got {'key' if self.cert is None else 'cert'} alone")
        if self.insecure and self.ca is not None:
            raise ValueError("expected ca or insecure: true, got both")
        return self
