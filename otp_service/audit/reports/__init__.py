"""Timelines, statistics and anomalies, for people."""
