"""Every message that crosses the bus, frozen. Fields are added with defaults, never change meaning, and are never
reused; receivers skip those they don't know. Any message may come twice, late or never: each says why that is harmless.

Times within a run are in ns since the segment's start on the agent's monotonic clock; `*_at_ns` are wall-clock ns since
the epoch, by the clock of whoever sent the message.
"""

from enum import StrEnum

import msgspec

from protocol.histogram import Packed
from protocol.schedule import Shape, Stripe

VERSION = (1, 1)


class Message(msgspec.Struct, frozen=True, tag=True):
    """What all messages are: a frozen value with a name."""


class Value(msgspec.Struct, frozen=True):
    """A part of a message."""


class ErrorClass(StrEnum):
    """The one class in which a request that went wrong ends; one that went well has none."""

    STATUS = "status"
    CHECK = "check"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    DNS = "dns"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect-timeout"
    FIRST_BYTE_TIMEOUT = "first-byte-timeout"
    BODY_TIMEOUT = "body-timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too-large"
    LOCAL = "local"


# Their true length is unknown: only that it is no shorter than measured.
TIMEOUTS = frozenset({ErrorClass.CONNECT_TIMEOUT, ErrorClass.FIRST_BYTE_TIMEOUT, ErrorClass.BODY_TIMEOUT})


class Clock(StrEnum):
    """A span of a request's life that gets a histogram of its own."""

    RESPONSE = "response"  # done - planned
    UNLAGGED = "unlagged"  # done - started: the response, had the agent been on time
    SERVICE = "service"  # done - sent
    WAIT = "wait"  # sent - started
    LAG = "lag"  # started - planned
    TTFB = "ttfb"  # first byte of the response - sent
    BODY = "body"  # done - first byte
    CONNECT = "connect"  # of a connection: from its first packet until TCP was through
    TLS = "tls"  # of a connection: its TLS handshake


class Fate(StrEnum):
    """How a request ended, as far as histograms keep it apart."""

    OK = "ok"
    ERROR = "error"
    CUT = "cut"  # timed out or never sent: the value is only a lower bound


class StatusRange(Value, frozen=True):
    """HTTP status codes that count as errors, both ends included."""

    lower: int
    upper: int


class CheckKind(StrEnum):
    """What a response is checked for, besides its status."""

    CONTAINS = "contains"
    REGEX = "regex"
    JSON_PATH = "json-path"
    MAX_BYTES = "max-bytes"


class Check(Value, frozen=True):
    """One check on a response's body: that it contains a text, matches a regular expression, has a value at a JSON
    path (`value` is that value as JSON), or is no larger than so many bytes (`argument` is the number).
    """

    kind: CheckKind
    argument: str
    value: str = ""


class Tls(Value, frozen=True):
    """How a server is trusted, and how we show who we are. Certificates and keys are PEM.

    `server_name` takes the place of the URL's host in SNI and in the certificate's check; `min_version` is 1.2 or 1.3.
    """

    ca: bytes = b""
    cert: bytes = b""
    key: bytes = b""
    is_verified: bool = True
    min_version: str = ""
    server_name: str = ""
    alpn: tuple[str, ...] = ()


class Http2(StrEnum):
    """Whether requests go over HTTP/2: never, agreed on in the TLS handshake, or without asking (prior knowledge)."""

    OFF = ""
    ALPN = "alpn"
    PRIOR_KNOWLEDGE = "prior-knowledge"


class Target(Value, frozen=True):
    """What one request is for, and how to send and judge it.

    A body, or rows of data, too large for a message are blobs. `limits_ns` are the limits of SLOs: requests above each
    are counted exactly. Where `is_template` is set, path, header values and body hold `{{ … }}`, filled in for each
    request; `rows` is a MessagePack list of maps, of which request number k uses row k modulo their number.
    `weight` is the target's share of a mix. A `traceparent` header goes with every `trace_period`-th request (0: none).
    """

    endpoint: str
    url: str
    version: int = 0
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_blob: str = ""
    timeout_ns: int = 3_000_000_000
    error_ranges: tuple[StatusRange, ...] = ()
    limits_ns: tuple[int, ...] = ()
    weight: int = 1
    is_template: bool = False
    rows: bytes = b""
    rows_blob: str = ""
    checks: tuple[Check, ...] = ()
    trace_period: int = 0
    redirects: int = 0  # how many in a row are followed
    keep_alive: bool = True  # False: one connection a request
    requests_per_connection: int = 0  # at most; 0: as many as the server allows
    tls: Tls = Tls()
    http2: Http2 = Http2.OFF


class Segment(Value, frozen=True):
    """One agent's part of one segment.

    `count` is its share of a closed load's total; `stripe` its part of an open load's timetable. What is left at
    `max_length_ns` is unsent. `connections` is the most that are open at once to one origin, of which `ahead` are
    opened before the start (None: all); each carries up to `streams` requests at once. More than one target is a mix by
    weight. `phases_ns` are the instants, in ns since the start, at which the second and later phases begin: what is
    measured is kept apart by the phase in which it was planned.
    """

    name: str
    targets: tuple[Target, ...]
    shape: Shape
    stripe: Stripe
    connections: int
    max_length_ns: int
    count: int | None = None
    is_warmup: bool = False
    initial_calls: bool = False
    ahead: int | None = None
    streams: int = 1
    phases_ns: tuple[int, ...] = ()


class SeriesKey(Value, frozen=True, order=True):
    """Everything measured is keyed by this: indices into the segments, their phases (`stage`), versions and targets."""

    segment: int = 0
    stage: int = 0
    version: int = 0
    target: int = 0


class Evidence(Value, frozen=True):
    """One request to show to people: one of the slowest, or an early one of its class of error."""

    planned_ns: int
    started_ns: int
    sent_ns: int
    done_ns: int
    error: str = ""
    status: int = 0
    text: str = ""
    remote: str = ""
    agent: str = ""
    body: bytes = b""
    first_ns: int = 0  # when the first byte of the response came; 0 if none did
    trace: str = ""  # the trace id that was sent with it
    number: int = 0  # its number in the segment, over all agents


class Series(Value, frozen=True):
    """What was counted for one key, in one interval or from the start; every field adds up.

    `histograms` and `over` are keyed by `clock.fate`; `over` counts the samples above each of the target's limits.
    `started` counts, by the second in which they were due, the requests that were begun in time; it stands with the
    segment's first target, for all of them. `connections` is by how much the most that were open at once has grown.
    """

    key: SeriesKey
    planned: int = 0
    ok: int = 0
    errors: int = 0
    unsent: int = 0
    withdrawn: int = 0
    classes: dict[str, int] = {}
    statuses: dict[int, int] = {}
    started: dict[int, int] = {}
    histograms: dict[str, Packed] = {}
    over: dict[str, tuple[int, ...]] = {}
    bytes_in: int = 0
    bytes_out: int = 0
    reconnects: int = 0
    redirects: int = 0
    connections: int = 0
    remotes: tuple[str, ...] = ()
    slow: tuple[Evidence, ...] = ()
    failed: tuple[Evidence, ...] = ()


class Machine(Value, frozen=True):
    """How the agent itself fared: CPU time, and how late its event loop ran what it had promised.

    `throttled` and `throttled_ns` are how often, and for how long, the container's CPU quota held it up in the
    interval; `files` and `ports` the most descriptors and local ports in use, of `files_limit` and `ports_limit`.
    0 for a limit means that it is not known.
    """

    cpu_ns: int = 0
    wall_ns: int = 0
    loop_delay: Packed = Packed()
    pacer: str = ""
    throttled: int = 0
    throttled_ns: int = 0
    files: int = 0
    files_limit: int = 0
    ports: int = 0
    ports_limit: int = 0
    cpu_quota: float = 0.0  # cores that the container may use; 0: no quota
    rss: int = 0  # bytes of resident memory


# --- to the controller ---------------------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """An agent is there. Sent each second while idle; twice is the same as once."""

    agent: str
    incarnation: str
    cores: int = 1
    host: str = ""
    pid: int = 0
    busy_with: str = ""
    clock_offset_ns: int = 0
    clock_error_ns: int = 0
    labels: dict[str, str] = {}


class Ready(Message, frozen=True):
    """An agent took an assignment. The answer to Assign, given again to the same Assign.

    `initial_errors` tells of initial calls that went wrong; `resolved` are the targets' hosts with each address found.
    """

    agent: str
    incarnation: str
    clock_offset_ns: int = 0
    clock_error_ns: int = 0
    initial_errors: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()


class Refused(Message, frozen=True):
    """An agent will not do what it was asked. An answer; the refusal changed nothing."""

    agent: str
    why: str
    busy_with: str = ""


class Done(Message, frozen=True):
    """An order was taken. An answer; the same order again gets the same answer."""

    agent: str


class Heartbeat(Message, frozen=True):
    """An agent lives and works on a run. One that is lost is followed by the next."""

    run_id: str
    agent: str
    incarnation: str
    epoch: int = 0
    segment: int = -1
    tried: int = 0


class Shard(Message, frozen=True):
    """What one agent measured in one second, or in several that were joined in a full spool.

    Its key (run, epoch, agent, incarnation, seq) makes a second copy harmless; a lost one costs the chart.
    """

    run_id: str
    epoch: int
    agent: str
    incarnation: str
    seq: int
    segment: int
    second: int
    series: tuple[Series, ...] = ()
    machine: Machine = Machine()
    seconds: int = 1


class Manifest(Message, frozen=True):
    """An agent's totals of one segment, signed off. In `parts` messages; each is idempotent by (segment, part).

    One that is missing is asked for again.
    """

    run_id: str
    epoch: int
    agent: str
    incarnation: str
    segment: int
    last_seq: int
    ended: str
    elapsed_ns: int
    series: tuple[Series, ...] = ()
    machine: Machine = Machine()
    part: int = 0
    parts: int = 1


# --- to agents -----------------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """Who leads, and what time it is there: the answer to Hello."""

    term: int
    controller_at_ns: int


class Renewed(Message, frozen=True):
    """The lease of a run is renewed: the answer to Heartbeat. `is_over` says to stop: the run goes on without you."""

    term: int
    controller_at_ns: int
    is_over: bool = False


class Assign(Message, frozen=True):
    """One agent's part of a run. Claims the agent; the same one again is answered the same."""

    run_id: str
    term: int
    epoch: int
    namespace: str
    segments: tuple[Segment, ...]
    lease_ns: int
    user_agent: str = ""
    index: int = 0


class Start(Message, frozen=True):
    """Begin a segment at a wall-clock instant of the controller's. The same one again changes nothing."""

    run_id: str
    term: int
    epoch: int
    segment: int
    start_at_ns: int


class Restripe(Message, frozen=True):
    """From a request on, another part of the timetable is yours. The same epoch again changes nothing."""

    run_id: str
    term: int
    epoch: int
    segment: int
    stripe: Stripe


class Stop(Message, frozen=True):
    """End the segment under way, finish what is in flight, sign off. Again changes nothing.

    With an epoch, a start that was called off is meant: one of a later epoch goes on.
    """

    run_id: str
    term: int
    why: str
    epoch: int | None = None


class AskAgain(Message, frozen=True):
    """Send these shards, and the manifest of the segment, once more. The merge drops what it has."""

    run_id: str
    term: int
    segment: int
    seqs: tuple[int, ...] = ()


class Release(Message, frozen=True):
    """The run is over: forget it. For an agent that has forgotten it already, nothing."""

    run_id: str
    term: int


ToController = Hello | Ready | Refused | Done | Heartbeat | Shard | Manifest
ToAgent = Welcome | Renewed | Assign | Start | Restripe | Stop | AskAgain | Release
