"""Attacks on a running service. It is a package so that what its tests share ends with them."""
