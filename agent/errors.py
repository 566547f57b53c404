"""What can go wrong on the agent's side."""


class AgentError(Exception):
    """The agent can't start or can't go on; the message says what to do."""
