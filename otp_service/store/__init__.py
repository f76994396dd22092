"""The store of the service in Redis, and the Redis server of `otp-service dev`."""
