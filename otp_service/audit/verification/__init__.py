"""Verifying an archive with the public key alone."""
