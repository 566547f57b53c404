"""The sample service that `seatrial demo` puts under load."""
