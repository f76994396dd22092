"""The sealer: copies events from Redis to the archive and to the sinks, and seals them."""
