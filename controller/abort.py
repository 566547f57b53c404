"""Pure: whether what was measured so far ends a run by its `abortOn`. Ending it is the conductor's work."""

from collections.abc import Mapping, Sequence

from controller.assess import comparison, violates
from controller.experiment.abort import AbortOn
from controller.measure import Measured


def first_violated(abort_on: Sequence[AbortOn], measured: Mapping[str, Measured]) -> AbortOn | None:
    """The first of the limits that is violated whatever is assumed, by requests enough; None if none is.

    `measured` is by provider; what is not in it has not begun.
    """
    for one in abort_on:
        facts = measured.get(one.slo.metric.provider)
        if facts is not None and facts.requests >= one.min_requests and violates(one.slo, facts):
            return one
    return None


def sentence(abort_on: AbortOn, facts: Measured) -> str:
    """Why the run was ended: `abortOn: http/error-rate is 0.6, above 0.5, after 1,234 requests`."""
    requests = "1 request" if facts.requests == 1 else f"{facts.requests:,} requests"
    return f"abortOn: {comparison(abort_on.slo, facts, satisfied=False)}, after {requests}"
