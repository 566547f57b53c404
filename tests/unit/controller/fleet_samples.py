"""Runs without a bus: agents that do their part of a plan on paper, and what they tell of it."""

from dataclasses import dataclass, field

import numpy as np

from agent.outcome import Outcome
from agent.record import Recorder
from controller.account import Conducted
from controller.merge import Merge
from controller.plan import LoadSegment, Plan, split
from protocol.histogram import Histogram
from protocol.messages import ErrorClass, Machine, Manifest, SeriesKey, Shard, Target
from protocol.schedule import NS_PER_S, Shape, share

FOREVER = 1 << 62
START_S = 1000.0
MS = 1_000_000
LIMITS = (5 * MS,)


def load(shape, *, connections=8, name="http", is_warmup=False):
    target = Target(endpoint="", url="http://127.0.0.1/", limits_ns=LIMITS)
    return LoadSegment(name, ("http",), (target,), shape, connections, max_length_ns=60 * NS_PER_S, is_warmup=is_warmup)


def plan_of(*shapes, agents=1):
    return split([load(shape) for shape in shapes], agents)


@dataclass
class Paper:
    """One agent's part of one segment as it happened; `took_ms` are the service times, taken in turn."""

    plan: Plan
    index: int
    segment: int = 0
    took_ms: tuple[int, ...] = (1,)
    stopped_ns: int | None = None  # nothing that is due later was sent
    first_seq: int = 0
    epoch: int = 0
    unsent: int = 0  # of what was due, the last ones that never got a connection
    shards: list[Shard] = field(default_factory=list)
    responses: list[int] = field(default_factory=list)
    dues: list[int] = field(default_factory=list)

    @property
    def name(self):
        return f"agent-{self.index}"

    def __post_init__(self):
        shape = self.plan.segments[self.segment].shape
        if shape.is_open:
            part = self.plan.part(self.segment, self.index)
            dues = [part.due_ns(j) for j in range(part.planned)]
        else:
            dues = [j * MS for j in range(share(shape.count or 50, self.index, self.plan.agents))]
        sent = [due for due in dues if self.stopped_ns is None or due <= self.stopped_ns]
        waiting = sent[len(sent) - min(self.unsent, len(sent)) :]
        self.dues = sent[: len(sent) - len(waiting)]
        recorder = Recorder(self.segment, self.plan.segments[self.segment].targets, agent=self.name)
        recorder.ticks.extend(self.dues if shape.is_open else [])
        self._fill(recorder, shape)
        recorder.unsent(0, np.array(waiting, dtype=np.int64), (self.stopped_ns or 0) + max(waiting, default=0))
        recorder.withdrawn(0, 0, len(dues) - len(sent))
        recorder.planned(0, 0, len(dues))
        self._shard(recorder, len(self.shards), FOREVER)
        self.total = recorder.totals[SeriesKey(segment=self.segment)].series()

    def _fill(self, recorder, shape):
        """Tell the recorder of every request, and cut each second."""
        outcomes = []
        for number, due in enumerate(self.dues):
            took = self.took_ms[number % len(self.took_ms)]
            error = ErrorClass.FIRST_BYTE_TIMEOUT if took > 30 else ErrorClass.STATUS if took % 7 == 0 else None
            status = 0 if took > 30 else 500 if error else 200
            outcomes.append(Outcome(0, due, due, due + took * MS, error, status=status))
            self.responses.append(took * MS)
        outcomes.sort(key=lambda one: one.done_ns)
        until = NS_PER_S
        for one in outcomes:
            while one.done_ns >= until:
                self._shard(recorder, len(self.shards), until)
                until += NS_PER_S
            recorder.done(one)
            if shape.is_open:
                recorder.begun({one.planned_ns // NS_PER_S: 1})

    def _shard(self, recorder, second, until_ns):
        series = recorder.cut(until_ns)
        delays = Histogram()
        delays.record((second + 1) * MS)
        machine = Machine(cpu_ns=second + 1, wall_ns=NS_PER_S, loop_delay=delays.pack(), pacer="timerfd")
        seq = self.first_seq + len(self.shards)
        self.shards.append(
            Shard("run", self.epoch, self.name, "i", seq, self.segment, second, series=series, machine=machine)
        )

    @property
    def last_seq(self):
        return self.first_seq + len(self.shards) - 1

    @property
    def manifest(self):
        ended = "complete" if self.stopped_ns is None else "stopped"
        elapsed = max((due + took for due, took in zip(self.dues, self.responses, strict=True)), default=0)
        return Manifest(
            "run", self.epoch, self.name, "i", self.segment, self.last_seq, ended, elapsed, series=(self.total,)
        )

    @property
    def told(self):
        return [*self.shards, self.manifest]


def conducted_of(plan, told, **facts):
    """What a run came to that was told these messages."""
    merge = Merge()
    for message in told:
        merge.add(message)
    agents = tuple(f"agent-{index}" for index in range(plan.agents))
    numbers = range(len(plan.segments))
    parts = {
        (number, agent): plan.part(number, index)
        for number in numbers
        for index, agent in enumerate(agents)
        if plan.segments[number].shape.is_open
    }
    started_s = facts.pop("started_s", {number: START_S + 100 * number for number in numbers})
    return Conducted(plan, agents, merge, parts=parts, started_s=started_s, **facts)


def open_shape(rate="10", duration_s=3.0):
    return Shape(rate_per_s=rate, duration_ns=int(duration_s * NS_PER_S))
