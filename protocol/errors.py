"""What can go wrong between the two sides."""


class ProtocolError(Exception):
    """A message or a channel is not what this side agreed to."""


class VersionMismatchError(ProtocolError):
    """The peer speaks a newer major version of the protocol."""


class BusError(ProtocolError):
    """The bus did not do what was asked of it in time."""


class NobodyThereError(BusError):
    """A request had no one to answer it."""


class ConflictError(BusError):
    """A compare-and-set lost against another writer."""
