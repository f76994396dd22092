"""Searching events in Redis and in the archive."""
