"""The service as it is installed, with what surrounds it: hosts, workers, vendors, phones, clocks.

It runs on any event loop and any Redis, so it imports neither the kernel nor the model of the store.
"""
