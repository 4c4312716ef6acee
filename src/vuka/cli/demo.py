"""``vuka demo``: filled in below."""


def demo() -> None:
    """."""
