"""Sending: providers, their dialects, and the router that walks them. See README.md."""
