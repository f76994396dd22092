"""Search and paging over the events in Redis and in the archive."""
