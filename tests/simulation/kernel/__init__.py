"""A deterministic event loop for one thread, with a simulated clock and a simulated network."""
