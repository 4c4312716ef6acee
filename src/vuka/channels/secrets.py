"""Secrets of channels: from their key (or its variable), or from a file. They are never stored and never logged."""

from __future__ import annotations

from pathlib import Path

from vuka.errors import OperatorError


def secret(key: str, value: str, file: str) -> str:
    """The secret of the configuration's ``key``, empty where there is none.

    Raises `OperatorError` where the file can't be read or holds nothing, or both are given.
    """
    if not file:
        return value
    if value:
        raise OperatorError(f"notifications.{key} and notifications.{key}_file are both set. Leave one of them empty.")
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise OperatorError(f"notifications.{key}_file names {file}, which can't be read: {reason}.") from None
    if not text:
        raise OperatorError(f"notifications.{key}_file names {file}, which is empty.")
    return text
