"""The brake on SMS pumping: budgets of unverified sends. Pure decisions.

Fraudsters request codes for numbers whose operator shares the revenue, and enter none of them. So each
send is a debt in several scopes until its challenge verifies: narrow ones count messages, wide ones
money. `decision.py` decides a send from the debts and what a worker has learned; the other modules are
its parts.

`service/brake.py` plans the debts of a send with it, and the store decides them with the same arithmetic in
Lua. `bench/pumping` drives it with a simulated clock.
"""
