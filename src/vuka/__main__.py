"""``python -m vuka`` is the ``vuka`` command."""

from vuka.cli import main

main()
