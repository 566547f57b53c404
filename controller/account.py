"""Pure: where every planned request of a run went, and whether that adds up.

planned = tried + unsent + withdrawn + unaccounted, and tried = ok + errors; checked on every run, against the plan that
the controller made and against the histograms that came back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from controller.events import (
    OnLoss,
    RunEnded,
)
from controller.experiment.result import Account
from controller.measure import Measured
from controller.merge import Merge
from controller.plan import Plan
from protocol.messages import Clock, Fate, Ready, SeriesKey
from protocol.schedule import NS_PER_S, Part, share
from protocol.series import Tally


@dataclass
class Conducted:
    """What a run came to."""

    plan: Plan
    agents: tuple[str, ...]
    merge: Merge
    ended: RunEnded = RunEnded.FAILED
    why: str = ""
    on_loss: OnLoss = OnLoss.FAIL
    lease_s: float = 60.0
    ended_by_segment: dict[int, RunEnded] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    ready: dict[str, Ready] = field(default_factory=dict)
    parts: dict[tuple[int, str], Part] = field(default_factory=dict)
    started_s: dict[int, float] = field(default_factory=dict)  # monotonic, by segment
    stopped_s: float | None = None
    started_at_ns: int = 0  # wall clock
    begun_at_ns: int = 0


def measured(conducted: Conducted, segment: int) -> Measured:
    """The merged counts of a segment's target over all agents."""
    total = Tally(SeriesKey(segment=segment))
    for agent in conducted.agents:
        total.add(_tally(conducted, segment, agent).series())
    load = conducted.plan.segments[segment]
    return Measured(total, load.shape.is_open, account(conducted, segment).unaccounted, load.target.limits_ns)


def account(conducted: Conducted, segment: int) -> Account:
    """Where a segment's requests went, over all agents."""
    return added(agent_account(conducted, segment, agent) for agent in conducted.agents)


def added(accounts: Iterable[Account]) -> Account:
    """The sum; it closes if each does."""
    listed = list(accounts)
    return Account(
        planned=sum(one.planned for one in listed),
        tried=sum(one.tried for one in listed),
        ok=sum(one.ok for one in listed),
        errors=sum(one.errors for one in listed),
        unsent=sum(one.unsent for one in listed),
        withdrawn=sum(one.withdrawn for one in listed),
        unaccounted=sum(one.unaccounted for one in listed),
        closes=all(one.closes for one in listed),
    )


def agent_account(conducted: Conducted, segment: int, agent: str) -> Account:
    """Where one agent's part of a segment went."""
    tally = _tally(conducted, segment, agent)
    if segment not in conducted.started_s:
        planned = planned_of(conducted, segment, agent) or 0
        return Account(planned=planned, withdrawn=planned)
    if agent in conducted.lost or conducted.merge.manifest(agent, segment) is None:
        return _account_of_lost(conducted, segment, agent, tally)
    expected = planned_of(conducted, segment, agent)
    closes = (
        tally.planned == (tally.tried if expected is None else expected)
        and tally.planned == tally.tried + tally.unsent + tally.withdrawn
        and _histogrammed(tally) == tally.tried + tally.unsent
        and _histogrammed(tally, Fate.OK) == tally.ok
        and sum(tally.classes.values()) == tally.errors
    )
    return Account(
        planned=tally.planned,
        tried=tally.tried,
        ok=tally.ok,
        errors=tally.errors,
        unsent=tally.unsent,
        withdrawn=tally.withdrawn,
        closes=closes,
    )


def planned_of(conducted: Conducted, segment: int, agent: str) -> int | None:
    """An agent's requests by the controller's own plan; None where the answers decide."""
    load = conducted.plan.segments[segment]
    if load.shape.is_open:
        return conducted.parts[segment, agent].planned
    if load.shape.count is None:
        return None
    return share(load.shape.count, conducted.agents.index(agent), len(conducted.agents))


def _account_of_lost(conducted: Conducted, segment: int, agent: str, tally: Tally) -> Account:
    """What a lost agent stored is counted; what else it may have sent before the boundary is unaccounted."""
    planned = planned_of(conducted, segment, agent)
    known = tally.tried + tally.unsent
    if planned is None:
        due = known + _most_untold(conducted, segment, agent, tally)
        planned = due
    elif conducted.plan.segments[segment].shape.is_open:
        due = conducted.parts[segment, agent].due_count(_boundary_ns(conducted, segment, agent))
    else:
        due = planned
    unaccounted = max(0, due - known)
    return Account(
        planned=planned,
        tried=tally.tried,
        ok=tally.ok,
        errors=tally.errors,
        unsent=tally.unsent,
        withdrawn=planned - known - unaccounted,
        unaccounted=unaccounted,
        closes=_histogrammed(tally) == known,
    )


def _boundary_ns(conducted: Conducted, segment: int, agent: str) -> int:
    """Up to when, in elapsed ns, a lost agent's requests belong to the run: its end, or the end of the agent's lease."""
    start_s = conducted.started_s[segment]
    part = conducted.parts.get((segment, agent))
    was_taken_over = part is not None and part.timetable.shape != conducted.plan.segments[segment].shape
    ends = []
    if agent in conducted.lost and not was_taken_over:  # else it was cut: all that is left of it was this agent's
        ends.append(conducted.lost[agent] + conducted.lease_s - start_s)
    if conducted.stopped_s is not None:
        ends.append(conducted.stopped_s - start_s)
    manifests = (conducted.merge.manifest(other, segment) for other in conducted.agents if other not in conducted.lost)
    others = [manifest.elapsed_ns / NS_PER_S for manifest in manifests if manifest is not None]
    if others and conducted.stopped_s is None:  # the last request may be due after the others had their last answer
        ends.append(max(*others, (conducted.plan.segments[segment].length_ns or 0) / NS_PER_S))
    return int(max(0.0, min(ends)) * NS_PER_S) if ends else 1 << 62


def _most_untold(conducted: Conducted, segment: int, agent: str, tally: Tally) -> int:
    """The most that a lost agent under closed load can have sent untold: twice its own rate until it was given up.

    Closed load has no plan that would bound it, so this is an estimate on the safe side, and no more.
    """
    connections = conducted.plan.assignment(conducted.agents.index(agent))[segment].connections
    told_s = conducted.merge.shards(agent, segment)
    until_s = _boundary_ns(conducted, segment, agent) / NS_PER_S
    rate = tally.tried / told_s if told_s else 0.0
    return connections + int(2 * rate * max(0.0, min(until_s, 3600.0) - told_s))


def _tally(conducted: Conducted, segment: int, agent: str) -> Tally:
    return conducted.merge.tally(agent, segment, trust_manifest=agent not in conducted.lost)


def _histogrammed(tally: Tally, *fates: Fate) -> int:
    names = [f"{Clock.RESPONSE}.{fate}" for fate in fates or tuple(Fate)]
    return sum(tally.histograms[name].count for name in names if name in tally.histograms)
