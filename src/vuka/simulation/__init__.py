"""The simulation of a whole scheme: the hub as it is, in one thread, on a clock and a network of its own.

A *plan* is drawn from a seed: who takes part, who pays whom and how badly they behave, what operators do, what breaks
and when. `run` plays it on the real hub (its API, engine, rules, ledger and store), whose time, network, disk and death
are the simulation's, and checks after each step that what must always be true of a scheme is true. The same plan is the
same run, to the byte. Where a check fails, `shrink` leaves out of the plan what the failure does not need, and `story`
tells what is left.

Nothing here is part of a running hub: it comes in at the seams that the hub has for time, chance, network and store.
"""
