"""Terms that payer and payee agree on beforehand, for clearing without lookup and quote.

The hub checks nothing of a transfer's terms but that the fulfilment is the preimage of the condition (hub reference
§6.7), so transfers that are to measure or to load it all carry these. Whoever takes part knows the preimage: no money
that anybody owns may be cleared so.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

PREIMAGE: Final = bytes(range(32))
FULFILMENT: Final = base64.urlsafe_b64encode(PREIMAGE).rstrip(b"=").decode()
CONDITION: Final = base64.urlsafe_b64encode(hashlib.sha256(PREIMAGE).digest()).rstrip(b"=").decode()
ILP_PACKET: Final = base64.urlsafe_b64encode(bytes(range(256)) * 2 + bytes(186)).rstrip(b"=").decode()
"""As long as a packet of life: 931 characters or so."""
