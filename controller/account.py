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
from controller.experiment.abort import AbortOn
from controller.experiment.result import Account
from controller.measure import Measured
from controller.merge import Merge
from controller.plan import LoadSegment, Plan
from protocol.arrivals import NS_PER_S
from protocol.messages import Clock, Fate, Ready, SeriesKey
from protocol.schedule import Part, share
from protocol.series import Tally
from protocol.spread import spread


@dataclass(frozen=True)
class Selection:
    """A part of a segment: some of its targets, in some of its phases. None for all of them."""

    targets: frozenset[int] | None = None
    phases: frozenset[int] | None = None

    def holds(self, key: SeriesKey) -> bool:
        """Whether what was measured under this key belongs to it."""
        return (self.targets is None or key.target in self.targets) and (
            self.phases is None or key.stage in self.phases
        )

    def is_all_of(self, load: LoadSegment) -> bool:
        """Whether it is the whole segment."""
        has_all = self.targets is None or len(self.targets) == len(load.targets)
        return has_all and (self.phases is None or len(self.phases) == max(1, len(load.phases)))


ALL = Selection()


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
    aborted: str = ""  # by abortOn, and why
    aborted_by: AbortOn | None = None
    started_at_ns: int = 0  # wall clock
    begun_at_ns: int = 0


def measured(conducted: Conducted, segment: int, part: Selection = ALL, elapsed_s: float = 0.0) -> Measured:
    """The merged counts of a part of a segment over all agents. All targets of a mix have the same limits."""
    total = Tally(SeriesKey(segment=segment))
    for agent in conducted.agents:
        total.add(_tally(conducted, segment, agent, part).series())
    load = conducted.plan.segments[segment]
    unaccounted = account(conducted, segment, part).unaccounted
    return Measured(total, load.shape.is_open, unaccounted, load.targets[0].limits_ns, elapsed_s)


def running(conducted: Conducted, segment: int) -> dict[str, Measured]:
    """What the shards of a segment under way say so far, by provider, for `abortOn`.

    Rates are over the seconds that all agents have told of, but for the last: what was sent in it may still be in flight.
    So a rate so far is too high rather than too low, and unknown at first.
    """
    load = conducted.plan.segments[segment]
    told_s = min((conducted.merge.told_s(agent, segment) for agent in conducted.agents), default=0)
    found = {}
    for provider, part in selections(load).items():
        tally = conducted.merge.live(segment, part.holds)
        length_s = _covered_s(load, part, max(0.0, told_s - 1.0))
        found[provider] = Measured(tally, load.shape.is_open, 0, load.targets[0].limits_ns, length_s)
    return found


def _covered_s(load: LoadSegment, part: Selection, told_s: float) -> float:
    """How much of a part lies in the first so many seconds of its segment."""
    if not load.phases or part.phases is None:
        return told_s
    phases = [load.phases[phase] for phase in part.phases]
    ends_s = [told_s if one is load.phases[-1] else min(one.ends_ns / NS_PER_S, told_s) for one in phases]
    return sum(max(0.0, end_s - one.starts_ns / NS_PER_S) for one, end_s in zip(phases, ends_s, strict=True))


def selections(load: LoadSegment) -> dict[str, Selection]:
    """Whose metrics a segment gives: each target's, a mix's total, and each of those by stage."""
    targets = {provider: frozenset({index}) for index, provider in enumerate(load.providers)}
    if load.total:
        targets[load.total] = frozenset(range(len(load.targets)))
    found = {provider: Selection(of, load.measured_phases) for provider, of in targets.items()}
    for provider, of in targets.items():
        for stage, phases in load.stages.items():
            found[f"{provider}@{stage}"] = Selection(of, phases)
    return found


def account(conducted: Conducted, segment: int, part: Selection | None = None) -> Account:
    """Where a segment's requests went, or those of a part of it, over all agents."""
    return added(agent_account(conducted, segment, agent, part) for agent in conducted.agents)


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


def agent_account(conducted: Conducted, segment: int, agent: str, part: Selection | None = None) -> Account:
    """Where one agent's part of a segment went, or of a part of that."""
    tally = _tally(conducted, segment, agent, part)
    expected = planned_of(conducted, segment, agent, part)
    if segment not in conducted.started_s:
        planned = expected or 0
        return Account(planned=planned, withdrawn=planned)
    if agent in conducted.lost or conducted.merge.manifest(agent, segment) is None:
        return _account_of_lost(conducted, segment, agent, tally, part)
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


def planned_of(conducted: Conducted, segment: int, agent: str, part: Selection | None = None) -> int | None:
    """An agent's requests by the controller's own plan; None where the answers decide."""
    load = conducted.plan.segments[segment]
    if load.shape.is_open:
        own = conducted.parts[segment, agent]
        return own.planned if part is None else _due(conducted, segment, agent, own.planned, part)
    if load.shape.count is None or (part is not None and not part.is_all_of(load)):
        return None
    return share(load.shape.count, conducted.agents.index(agent), len(conducted.agents))


def _due(conducted: Conducted, segment: int, agent: str, until: int, part: Selection) -> int:
    """Of an agent's first `until` requests in open load, those of a part."""
    load = conducted.plan.segments[segment]
    own = conducted.parts[segment, agent]
    found = spread(own, load.weights, load.shape.seed, load.phases_ns, 0, until)
    keys = {place: SeriesKey(stage=place[0], target=place[1]) for place in found}
    return sum(count for place, count in found.items() if part.holds(keys[place]))


def _account_of_lost(conducted: Conducted, segment: int, agent: str, tally: Tally, part: Selection | None) -> Account:
    """What a lost agent stored is counted; what else it may have sent before the boundary is unaccounted.

    Of closed load nobody knows whose those would have been: each part may have had all of them.
    """
    planned = planned_of(conducted, segment, agent, part)
    known = tally.tried + tally.unsent
    if conducted.plan.segments[segment].shape.is_open:
        due = conducted.parts[segment, agent].due_count(_boundary_ns(conducted, segment, agent))
        due = due if part is None else _due(conducted, segment, agent, due, part)
    elif planned is not None:
        due = planned
    else:
        whole = _tally(conducted, segment, agent, None)
        limit = planned_of(conducted, segment, agent)
        told = whole.tried + whole.unsent
        untold = _most_untold(conducted, segment, agent, whole) if limit is None else max(0, limit - told)
        due = planned = known + untold
    assert planned is not None
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


def _tally(conducted: Conducted, segment: int, agent: str, part: Selection | None) -> Tally:
    trust_manifest = agent not in conducted.lost
    keys = part.holds if part is not None else ALL.holds
    return conducted.merge.tally(agent, segment, trust_manifest=trust_manifest, keys=keys)


def _histogrammed(tally: Tally, *fates: Fate) -> int:
    names = [f"{Clock.RESPONSE}.{fate}" for fate in fates or tuple(Fate)]
    return sum(tally.histograms[name].count for name in names if name in tally.histograms)
