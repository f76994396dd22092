"""The archive of a simulated run: its sealers, its folder, and what it holds at the end.

`docs/simulation.md` says what is simulated of it.
"""
