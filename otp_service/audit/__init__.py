"""The event log and its archive; README.md explains the packages."""
