"""For all tests: a slow machine is no defect, and what CI draws is the same each time."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "seatrial",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("seatrial")
