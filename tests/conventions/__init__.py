"""Conventions of names and prose that a machine can hold; `make check` runs them."""
