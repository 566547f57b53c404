"""What is measured, and how it is judged: one function a group of rows. Rounds are interleaved: Seatrial, each peer,
Seatrial, each peer …, so that a change in the machine's mood meets all of them.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import peers as p
from machine import Cores, NotRunError
from processes import rss_mib
from rig import Rig, Run
from servers import SCRIPT_US, Nginx, crossing_us, scripted_target
from table import Limit, Row, judged_row, not_run, plain, ratio_row, spread, verdict

CONNECTIONS = 50
OPEN_RATES = (5_000, 10_000, 20_000)
OPEN_CONNECTIONS = 100
SOAK_S = 600
SOAK_EARLY_S = 60
SOAK_RATE = 20_000


@dataclass(frozen=True)
class Bench:
    """All that a measure needs."""

    cores: Cores
    rig: Rig
    nginx: Nginx
    folder: Path
    files: int
    rounds: int
    seconds: int
    say: Callable[[str], None]

    def closed(self, url: str, connections: int = CONNECTIONS, seconds: int | None = None, **http: object) -> Run:
        """One closed-load run of Seatrial."""
        return self.rig.run(seconds or self.seconds, url=url, qps=-1, connections=connections, **http)


Series = dict[str, list[p.Made]]


def closed_rounds(
    bench: Bench,
    name: str,
    url: str,
    peers: Sequence[p.Peer],
    connections: int = CONNECTIONS,
    *,
    streams: int = 1,
    **http: object,
) -> tuple[Series, dict[str, str]]:
    """Interleaved rounds of one closed load: what Seatrial (under "") and each peer made, and who did not and why."""
    made: Series = {"": []}
    failed: dict[str, str] = {}
    for turn in range(bench.rounds):
        ours = bench.closed(url, connections, **http)
        made[""].append(p.Made(ours.rate_per_s, ours.tried, ours.cpu_s))
        told = [f"Seatrial {plain(ours.rate_per_s)}/s {plain(ours.cpu_us)} µs"]
        for peer in peers:
            if peer.name in failed:
                continue
            try:
                theirs = peer.load(p.Closed(url, connections, bench.seconds, streams), bench.cores)
            except NotRunError as error:
                failed[peer.name] = str(error)
                made.pop(peer.name, None)
                continue
            made.setdefault(peer.name, []).append(theirs)
            told.append(f"{peer.name} {plain(theirs.rate_per_s)}/s {plain(theirs.cpu_us)} µs")
        bench.say(f"{name}, round {turn + 1}: {', '.join(told)}")
    return made, failed


def rate_rows(measure: str, made: Series, failed: Mapping[str, str], limits: Mapping[str, Limit | None]) -> list[Row]:
    """A row of rates for each peer; each peer that is missing says why."""
    ours = [one.rate_per_s for one in made[""]]
    rows = []
    for peer, limit in limits.items():
        if peer in made:
            rows.append(ratio_row(measure, ours, peer, [one.rate_per_s for one in made[peer]], limit))
        else:
            rows.append(not_run(f"{measure}, against {peer}", failed.get(peer, "not run")))
    return rows


def closed(bench: Bench) -> list[Row]:
    """50 connections against every peer, and CPU time against wrk's."""
    name = f"closed load, {CONNECTIONS} connections"
    made, failed = closed_rounds(bench, name, bench.nginx.url, (p.WRK, p.H2LOAD, p.AB, p.HEY, p.LOCUST))
    limits = {
        "wrk": Limit(0.70, 1.0),
        "h2load": Limit(0.75, 1.0),
        "hey": Limit(2.5, 4),
        "locust FastHttpUser": Limit(12, 20),
        "ab": None,
    }
    rows = rate_rows(name, made, failed, limits)
    for peer, limit in (("wrk", Limit(1.6, 1.1, is_upper=True)), ("h2load", None)):
        if peer in made:
            ours, theirs = [one.cpu_us for one in made[""]], [one.cpu_us for one in made[peer]]
            rows.append(ratio_row("CPU time per request", ours, peer, theirs, limit, " µs"))
    return rows


def open_load(bench: Bench) -> list[Row]:
    """Constant rates: what was made of the plan, and how late the generator itself was."""
    rows = []
    for rate in OPEN_RATES:
        runs = []
        for turn in range(bench.rounds):
            one = bench.rig.run(bench.seconds, url=bench.nginx.url, rate=rate, connections=OPEN_CONNECTIONS)
            runs.append(one)
            lags = "/".join(plain(one.ms("lag", q) * 1000) for q in ("50", "99", "99.9"))
            share = one.cpu_s / bench.seconds
            bench.say(f"open load, {rate:,}/s, round {turn + 1}: lag p50/p99/p99.9 {lags} µs, {share:.0%} of a core")
        achieved = [one.rate_per_s / rate for one in runs]
        name = f"open load, {rate:,}/s"
        rows.append(judged_row(f"{name}: achieved / planned", achieved, Limit(0.999, 1.0)))
        is_judged = rate != OPEN_RATES[1]
        for percentile, bar, goal in (("50", 60, 20), ("99", 500, 100)):
            limit = Limit(bar, goal, is_upper=True, unit=" µs") if is_judged else None
            lag_us = [one.ms("lag", percentile) * 1000 for one in runs]
            rows.append(judged_row(f"{name}: schedule lag p{percentile}", lag_us, limit, " µs"))
        rows.append(
            judged_row(f"{name}: the agent's CPU", [100 * one.cpu_s / bench.seconds for one in runs], None, " %")
        )
    return rows


def agreement(bench: Bench) -> list[Row]:
    """10,000/s against a target whose answers take a known time: what it logged of each, and the way there and back."""
    name = "open load, 10,000/s"
    ours: dict[str, list[float]] = {}
    known: dict[str, list[float]] = {}
    for turn in range(bench.rounds):
        way_us = crossing_us(bench.cores)
        with scripted_target(bench.cores) as target:
            run = bench.rig.run(bench.seconds, url=target.url, rate=10_000, connections=OPEN_CONNECTIONS)
            scripted = target.finish()
        for q, us in scripted.took_us.items():
            ours.setdefault(q, []).append(run.ms("response", q) * 1000)
            known.setdefault(q, []).append(us + way_us)
        told = (f"p{q} {plain(ours[q][-1])}/{plain(known[q][-1])} µs" for q in scripted.took_us)
        way = (
            f"the way there and back {plain(way_us)} µs{'' if scripted.is_real_time else ', not at real-time priority'}"
        )
        bench.say(f"{name}, scripted answers, round {turn + 1}: Seatrial/known {', '.join(told)}; {way}")
    return [_agreement_row(f"{name}: response p{q}", q, ours[q], known[q]) for q in ours]


def _agreement_row(measure: str, q: str, ours: Sequence[float], known: Sequence[float]) -> Row:
    middle = statistics.median(known)
    limit = Limit(max(100, 0.10 * middle), max(50, 0.05 * middle), is_upper=True, unit=" µs")
    row = judged_row(measure, [abs(mine - its) for mine, its in zip(ours, known, strict=True)], limit)
    us = [f"{plain(statistics.median(values))} µs" for values in (ours, known)]
    peer = f"answers after {plain(SCRIPT_US[q])} µs"
    return Row(measure, us[0], peer, us[1], f"{row.judged} off", row.bar, row.goal, row.met)


def everything(bench: Bench) -> list[Row]:
    """A row of data, a template, a JSON-path check and a body of 10 KB, all at once."""
    rows_of_data = bench.folder / "rows.csv"
    lines = (f"{number},user-{number}" for number in range(1000))
    rows_of_data.write_text("\n".join(["id,name", *lines]) + "\n", encoding="utf-8")
    http = {
        "template": True,
        "data": {"file": str(rows_of_data)},
        "headers": {"X-User": "{{ row.name }}"},
        "checks": [{"jsonPath": "$.items[3].name", "equals": "item-3"}],
    }
    rates, cpu = [], []
    for turn in range(bench.rounds):
        one = bench.closed(bench.nginx.json_url + "?user={{ row.id }}", **http)
        rates.append(one.rate_per_s)
        cpu.append(one.cpu_us)
        bench.say(f"everything on, round {turn + 1}: {plain(one.rate_per_s)}/s {plain(one.cpu_us)} µs")
    limit = Limit(20_000, 40_000, unit="/s")
    return [
        judged_row("row of data, template, JSON-path check, 10 KB body", rates, limit),
        judged_row("the same: CPU time per request", cpu, None, " µs"),
    ]


def many(connections: int) -> Callable[[Bench], list[Row]]:
    """Closed load over many connections, against wrk."""

    def measured(bench: Bench) -> list[Row]:
        name = f"closed load, {connections:,} connections"
        if bench.files < connections + 500:
            raise NotRunError(f"a process may open {bench.files} files here: raise `ulimit -Hn`")
        # wrk's rate counts from before its connections are made, so the more there are, the longer a run has to be.
        longer = replace(bench, seconds=bench.seconds * (2 if connections >= 10_000 else 1))
        made, failed = closed_rounds(longer, name, bench.nginx.url, (p.WRK,), connections)
        return rate_rows(name, made, failed, {"wrk": Limit(0.6, 1.0)})

    return measured


def https(bench: Bench) -> list[Row]:
    """Closed load over TLS, against wrk's."""
    name = f"HTTPS, closed load, {CONNECTIONS} connections"
    made, failed = closed_rounds(bench, name, bench.nginx.https_url, (p.WRK,), tls={"insecure": True})
    return rate_rows(name, made, failed, {"wrk": Limit(0.4, 0.9)})


def handshakes(bench: Bench) -> list[Row]:
    """A new TLS connection for each request."""
    name = "new TLS connections"
    peers = (p.H2LOAD_NEW, p.S_TIME, p.AB_NEW)
    tls = {"insecure": True}
    made, failed = closed_rounds(bench, name, bench.nginx.https_url, peers, keepAlive=False, tls=tls)
    limits = {"h2load": Limit(0.4, 0.9), "openssl s_time": Limit(0.4, 0.9), "ab": None}
    return rate_rows(name, made, failed, limits)


def http2(bench: Bench) -> list[Row]:
    """HTTP/2 over TLS, 10 streams on each of 50 connections."""
    name = f"HTTP/2, {CONNECTIONS} connections of 10 streams"
    more = {"http2": True, "streams": 10, "tls": {"insecure": True}}
    load = p.Closed(bench.nginx.http2_url, CONNECTIONS, bench.seconds, streams=10)
    made: Series = {"": []}
    for turn in range(bench.rounds):
        ours = bench.closed(load.url, **more)
        theirs = p.H2LOAD.load(load, bench.cores)
        made[""].append(p.Made(ours.rate_per_s, ours.tried, ours.cpu_s))
        made.setdefault("h2load", []).append(theirs)
        bench.say(f"{name}, round {turn + 1}: Seatrial {plain(ours.rate_per_s)}/s, h2load {plain(theirs.rate_per_s)}/s")
    cpu = [[one.cpu_us for one in made[who]] for who in ("", "h2load")]
    rows = rate_rows(name, made, {}, {"h2load": None})
    return [*rows, ratio_row("HTTP/2: CPU time per request", cpu[0], "h2load", cpu[1], None, " µs")]


def soak(bench: Bench) -> list[Row]:
    """The agent's memory over ten minutes."""
    seen: list[tuple[float, float]] = []

    def watch(elapsed_s: float) -> None:
        if not seen or elapsed_s >= seen[-1][0] + 1:
            seen.append((elapsed_s, rss_mib(bench.rig.agent_pid)))
            if len(seen) % 60 == 0:
                bench.say(f"soak: {elapsed_s:.0f} s, {seen[-1][1]:.1f} MiB")

    bench.rig.run(SOAK_S, watch, url=bench.nginx.url, rate=SOAK_RATE, connections=OPEN_CONNECTIONS)
    early = statistics.median(mib for at_s, mib in seen if SOAK_EARLY_S - 5 <= at_s <= SOAK_EARLY_S + 5)
    late = statistics.median(mib for at_s, mib in seen if SOAK_S - 10 <= at_s <= SOAK_S)
    limit = Limit(5, 0.5, is_upper=True, unit=" MB")
    grown = (late - early) * 1.048576
    return [
        Row(
            f"agent memory, 10 minutes at {SOAK_RATE:,}/s",
            f"{late:.1f} MiB",
            "after 1 minute",
            f"{early:.1f} MiB",
            spread([grown], " MB"),
            limit.said(limit.bar),
            "flat",
            verdict(limit, grown),
        )
    ]


MEASURES: dict[str, tuple[str, Callable[[Bench], list[Row]]]] = {
    "closed": (f"closed load, {CONNECTIONS} connections", closed),
    "open": ("open load", open_load),
    "agreement": ("open load, 10,000/s, scripted answers", agreement),
    "everything": ("row of data, template, JSON-path check, 10 KB body", everything),
    "1k": ("closed load, 1,000 connections", many(1_000)),
    "10k": ("closed load, 10,000 connections", many(10_000)),
    "https": ("HTTPS, closed load", https),
    "handshakes": ("new TLS connections", handshakes),
    "http2": ("HTTP/2", http2),
    "soak": ("agent memory, 10 minutes at 20,000/s", soak),
}
