"""Pure: how many agents a task takes. Apart from the plan, so that agents can be started before anything else is loaded."""

import math

from controller.experiment.http import HttpEndpoint, HttpTask

RATE_PER_AGENT = 10_000  # requests/s that one agent carries with room to spare


def agents_for(task: HttpTask, asked: int | None) -> int:
    """As many agents as were asked for, on the command line or in the task, else the fewest that carry its load.

    Never one without a connection and a request of its own.
    """
    endpoints = task.resolved()
    fewest = max(math.ceil((endpoint.peak_rate_per_s or 0) / RATE_PER_AGENT) for endpoint in endpoints)
    wanted = asked or (task.agents if isinstance(task.agents, int) else max(1, fewest))
    return max(1, min(wanted, *(_most(endpoint) for endpoint in endpoints)))


def _most(endpoint: HttpEndpoint) -> int:
    counts = (endpoint.planned_requests, endpoint.warmup_num_requests)
    return min(endpoint.connections, *(count for count in counts if count is not None), 10**6)
