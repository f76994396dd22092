"""Programs that use the service: read them, run them, copy them."""
