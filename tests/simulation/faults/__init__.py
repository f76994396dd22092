"""What goes wrong in a simulated run: drawn from its seed, recorded, and ended before its judgement."""
