"""The FSPIOP wire: messages of each version, headers, negotiation, ILP and the addresses of participants.

Pure functions and types: nothing here reads a clock, a table or a socket. What arrives is checked into typed values,
what leaves is made from them, and the rules of the scheme (`vuka.switch`) see neither headers nor JSON.

- `versions`: the versions of the API and how they are negotiated;
- `headers`: a request's headers, checked on the way in and made on the way out;
- `messages`: the bodies, as typed structs, with `bulk`, `bulk_transfers`, `fx`, `fx_transfers` and `requests`;
- `render`: the bodies the hub makes itself;
- `times`: the two ways in which the wire writes a moment;
- `ilp`: packets, conditions and fulfilments;
- `parties`: the path parameters that name a party; `endpoints`: where a participant is called back.
"""
