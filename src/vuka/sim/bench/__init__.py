"""Load for the benchmark: participants that cost as little as they can, so that what is measured is the hub.

They are outsiders like all of `vuka.sim`. `wire` is HTTP without a framework, `messages` holds every message ready but
for its ids and times, `scenarios` says which messages a payment consists of, `shapes` when payments begin, `figures`
what is made of the times, `participants` plays payers and payees, and ``python -m vuka.sim.bench`` is a process of them
that is told by lines of JSON what to do (`plan`).
"""
