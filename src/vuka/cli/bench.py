"""``vuka bench``: filled in below."""


def bench() -> None:
    """."""
