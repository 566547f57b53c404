"""Pure: may this agent load that address, at that rate? The controller can't override it."""

import tomllib
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import inf
from pathlib import Path

from agent.errors import AgentError
from protocol.schedule import Shape

Network = IPv4Network | IPv6Network
_PRIVATE = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


@dataclass(frozen=True)
class Policy:
    """The networks that may be loaded (None: all), and ceilings over what one run may ask of this agent."""

    networks: tuple[Network, ...] | None = tuple(map(ip_network, _PRIVATE))
    max_rate_per_s: float | None = None
    max_connections: int | None = None
    source: str = "the default policy of an agent started by hand"

    def admit(self, address: str) -> None:
        """`PermissionError` if the address must not be loaded."""
        if self.networks is None:
            return
        ip = ip_address(address.partition("%")[0])
        if not any(ip in network for network in self.networks if network.version == ip.version):
            allowed = ", ".join(map(str, self.networks)) or "nothing"
            raise PermissionError(f"{address} must not be loaded: {self.source} allows {allowed}")

    def objection(self, rate_per_s: float | None, connections: int) -> str:
        """Why so much load is not allowed; empty if it is."""
        if self.max_rate_per_s is not None and (rate_per_s is None or rate_per_s > self.max_rate_per_s):
            asked = "load without a rate" if rate_per_s is None else f"{rate_per_s:g} requests/s"
            return f"{asked} was asked for: {self.source} allows {self.max_rate_per_s:g} requests/s"
        if self.max_connections is not None and connections > self.max_connections:
            return (
                f"{connections} connections were asked for: {self.source} allows {self.max_connections}. Give that many "
                "connections, or maxInFlight (1,024 where it is unset, in open load without connections)"
            )
        return ""


def peak_per_s(shape: Shape) -> float:
    """The highest rate of an open load."""
    if shape.stages:
        return max(float(end) for stage in shape.stages for end in (stage.begin, stage.end))
    return float(Fraction(shape.rate_per_s or 0))


ANY_TARGET = Policy(networks=None, source="no policy")


def read_policy(path: Path) -> Policy:
    """The policy in a TOML file with `networks`, `max_rate_per_s` and `max_connections`; `AgentError` if it is wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(content.keys() - {"networks", "max_rate_per_s", "max_connections"})
        if unknown:
            raise AgentError(
                f"{path}: unknown key {unknown[0]!r}: expected networks, max_rate_per_s or max_connections"
            )
        networks = content.get("networks")
        return Policy(
            networks=Policy().networks if networks is None else tuple(map(ip_network, networks)),
            max_rate_per_s=_positive(content.get("max_rate_per_s"), "max_rate_per_s"),
            max_connections=_whole(content.get("max_connections")),
            source=str(path),
        )
    except (OSError, ValueError, TypeError) as error:
        raise AgentError(f"{path}: not a policy: {error}") from error


def _positive(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:  # nan would allow all
        raise ValueError(f"{name}: expected a number above 0, got {value!r}")
    return float(value)


def _whole(value: object) -> int | None:
    number = _positive(value, "max_connections")
    if number is not None and number != int(number):
        raise ValueError(f"max_connections: expected a whole number, got {value!r}")
    return None if number is None else int(number)
