"""The whole service under a simulated clock, network and store, from one seed."""
