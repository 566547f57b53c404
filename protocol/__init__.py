"""What both sides must agree on: words, bytes, channels. Imports nothing of ours."""
