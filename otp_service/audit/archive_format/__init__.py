"""The format of the archive: entries, seals, segments, hashes and keys. Pure, and imported by all."""
