"""Statements of a settlement bank, whatever file they come in."""

from __future__ import annotations

from typing import Final

from vuka.bankfiles.camt053 import read_camt053
from vuka.bankfiles.model import BankFileError, Statement
from vuka.bankfiles.statements_csv import read_statement_csv

FILE_BYTES_MAX: Final = 8 * 1024 * 1024

_XML_STARTS: Final = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\x00<")
"""XML begins so, after white space: in UTF-8, and in UTF-16 with its byte order mark."""


def read_statement(content: bytes) -> Statement:
    """What a file says: XML where it begins like XML, else CSV. Raises `BankFileError`."""
    if len(content) > FILE_BYTES_MAX:
        raise BankFileError(f"has more than {FILE_BYTES_MAX:,} bytes")
    if content.lstrip().startswith(_XML_STARTS):
        return read_camt053(content.lstrip())
    return read_statement_csv(content)
