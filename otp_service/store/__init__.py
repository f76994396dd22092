"""What the service keeps in Redis, and the Redis of a developer."""
