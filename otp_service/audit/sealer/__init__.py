"""The sealer: copies events from Redis to an archive, seals it and applies retention."""
