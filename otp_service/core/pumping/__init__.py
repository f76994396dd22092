"""The brake on SMS pumping: budgets of unverified sends, in money. Pure decisions.

Fraudsters request codes for numbers whose operator shares the revenue, and enter none of them. So each
send is a debt of its price, in several scopes, until its challenge verifies. `decision.py` decides a
send from the debts and what a worker has learned; the other modules are its parts.

`bench/pumping` drives this package with a simulated clock. The service does not use it yet (issue 15).
"""
