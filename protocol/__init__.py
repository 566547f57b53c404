"""What both sides must agree on: words, bytes, channels. Imports nothing of ours."""

__version__ = "0.1.0"
