"""Pure: whether what was measured so far ends a run by its `abortOn`. Ending it is the conductor's work."""

from collections.abc import Mapping, Sequence

from controller.assess import comparison, violates
from controller.experiment.abort import AbortOn
from controller.measure import Measured


def violated(abort_on: Sequence[AbortOn], measured: Mapping[str, Measured]) -> str:
    """A sentence once a limit is violated whatever is assumed, by requests enough; empty until then.

    `measured` is by provider; what is not in it has not begun.
    """
    found = first_violated(abort_on, measured)
    return "" if found is None else sentence(found, measured[found.slo.metric.provider])


def first_violated(abort_on: Sequence[AbortOn], measured: Mapping[str, Measured]) -> AbortOn | None:
    """The first of the limits that is violated, if one is."""
    for one in abort_on:
        facts = measured.get(one.slo.metric.provider)
        if facts is not None and facts.requests >= one.min_requests and violates(one.slo, facts):
            return one
    return None


def sentence(abort_on: AbortOn, facts: Measured) -> str:
    """Why the run was ended: `abortOn: http/error-rate is 0.6, above 0.5, after 1,234 requests`."""
    requests = "1 request" if facts.requests == 1 else f"{facts.requests:,} requests"
    return f"abortOn: {comparison(abort_on.slo, facts, satisfied=False)}, after {requests}"
