"""Runs many seeds on all cores, and finds of each that fails the shortest prefix that still does."""
