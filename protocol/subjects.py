"""Every NATS subject, stream, bucket and key, as a function; no other file spells one."""

from urllib.parse import quote


def _token(text: str) -> str:
    """One subject token: what NATS gives a meaning to is percent-encoded."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E")


def hello(namespace: str) -> str:
    """Where agents announce themselves to the controller that leads."""
    return f"seatrial.v1.{_token(namespace)}.hello"


def agent(namespace: str, agent_id: str) -> str:
    """Where one agent takes its orders."""
    return f"seatrial.v1.{_token(namespace)}.agent.{_token(agent_id)}"


def heartbeat(namespace: str, run_id: str) -> str:
    """Where the agents of a run say that they live, and renew their lease by it."""
    return f"seatrial.v1.{_token(namespace)}.run.{_token(run_id)}.heartbeat"


def shards(namespace: str, run_id: str) -> str:
    """Where the agents of a run append shards and manifests."""
    return f"seatrial.v1.{_token(namespace)}.run.{_token(run_id)}.shards"


def all_shards() -> str:
    """The subjects that the stream of shards takes in."""
    return "seatrial.v1.*.run.*.shards"


def stream() -> str:
    """The JetStream stream of shards."""
    return "SEATRIAL_V1_SHARDS"


def bucket() -> str:
    """The key-value bucket of small records."""
    return "SEATRIAL_V1"


def blobs() -> str:
    """The object store of large artifacts."""
    return "SEATRIAL_V1_BLOBS"


def term_key(namespace: str) -> str:
    """The number of the newest controller's leadership."""
    return f"term.{_key(namespace)}"


def checkpoint_blob(namespace: str, run_id: str) -> str:
    """The merge of a run so far, with the stream sequence it has read up to."""
    return f"checkpoint.{_key(namespace)}.{_key(run_id)}"


def payload_blob(namespace: str, run_id: str, number: int) -> str:
    """A request body that is too large for an assignment."""
    return f"payload.{_key(namespace)}.{_key(run_id)}.{number}"


def _key(text: str) -> str:
    """One token of a key: JetStream keys take no percent sign."""
    return _token(text).replace("=", "=3D").replace("%", "=")
