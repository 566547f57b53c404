"""For all tests: a slow machine is no defect."""

from hypothesis import HealthCheck, settings

settings.register_profile("seatrial", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("seatrial")
