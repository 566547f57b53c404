"""Looks, before any load is made, at whatever could spoil a measurement: this machine, the bus, the agents, the target."""
