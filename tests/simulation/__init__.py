"""The service on a simulated event loop, network and Redis, with faults, all drawn from one seed.

`kernel` has the loop, the network and the randomness; `redis_model` the server; `world` the hosts,
workers and providers; `actors` who calls them; `auditor` judges the history that `history` records.
Only `kernel` and what starts a run know that time is simulated: the others use asyncio alone, so that
they run against real parts too.
"""
