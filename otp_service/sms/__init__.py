"""Sending: providers, their dialects, and the router that tries them in order. See README.md."""
