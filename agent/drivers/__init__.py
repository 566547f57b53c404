"""Bytes on sockets, behind the one edge of `agent.outcome`."""
