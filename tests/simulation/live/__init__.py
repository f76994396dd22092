"""The actors and the auditor of the simulation, against real processes: `python -m tests.simulation.live`.

A round is one history: two hosts with two workers each run `otp-service serve` on a fresh store, behind
proxies that drop, delay and break what they forward. Workers, hosts and servers are killed and stopped.

    live_round.py     one round from its start to its history
    crowd.py          actors of the simulation, with numbers and accounts that no other crowd has
    http_calls.py     the calls of the actors as requests, and the answers as outcomes
    store_sites.py    the store: a server, a master behind Sentinel, or a cluster, each behind proxies
    live_faults.py    what happens to hosts and to the store
    observer.py       what the processes of the service report of themselves
    record_links.py   joins what was observed in different processes into one history
"""
