"""The wire of settlement banks: what they are asked to move, and what they say they have moved.

Orders go out as CSV, as ISO 20022 pacs.009 (one message for each currency) or as camt.050 (one message for each
transfer); statements come in as CSV, as the sheet of the reference's finance portal, or as ISO 20022 camt.053 of any
version. Bytes become values and values bytes, nothing more: this room knows no tables and no rules of settlement.
"""

from __future__ import annotations
