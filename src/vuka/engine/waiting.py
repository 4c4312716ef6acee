"""What waits for a batch: what ends something goes before what begins something.

A hub that is asked more than it can do would otherwise let each answer wait behind questions that came while the payee
was deciding: payments would begin and hold their payers' money, and few would end. As it is, an answer waits for
the batch under way and little longer, and all that is left goes to new payments: as many begin as can be ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from vuka.switch import bulk_quotes, fx_quotes, quotes, transfers
from vuka.switch.work import Command, Outcome

_QUESTIONS: Final = (
    transfers.PrepareTransfer,
    transfers.GetTransfer,
    quotes.RequestQuote,
    quotes.GetQuote,
    fx_quotes.RequestFxQuote,
    fx_quotes.GetFxQuote,
    bulk_quotes.RequestBulkQuote,
)
"""What participants begin something with, or only ask.

All else is an answer to what the hub has accepted, an act of the operator, or the engine's own: none of it is many.
"""

QUESTIONS_SHARE: Final = 4
"""Of each batch one part in so many is for questions, where enough wait: answers to nothing hold nobody up."""


def is_question(command: Command) -> bool:
    """Whether a command may wait behind all others."""
    return isinstance(command, _QUESTIONS)


class Submission(msgspec.Struct):
    """A command, and who waits for what becomes of it."""

    command: Command
    done: asyncio.Future[Outcome]


class Waiting:
    """Submissions in the order in which batches take them: the questions last, otherwise as they came."""

    def __init__(self) -> None:
        self._first: deque[Submission] = deque()
        self._questions: deque[Submission] = deque()

    def __len__(self) -> int:
        return len(self._first) + len(self._questions)

    def count(self, *, is_question: bool) -> int:
        """How many questions wait, or how many others."""
        return len(self._questions if is_question else self._first)

    def add(self, submission: Submission) -> None:
        """One more, behind those of its kind."""
        (self._questions if is_question(submission.command) else self._first).append(submission)

    def take(self, count: int) -> list[Submission]:
        """The next ``count`` of them, or all where there are fewer."""
        first, questions = self._first, self._questions
        kept = min(len(questions), count // QUESTIONS_SHARE)
        taken = [first.popleft() for _ in range(min(len(first), count - kept))]
        taken += [questions.popleft() for _ in range(min(len(questions), count - len(taken)))]
        return taken

    def put_back(self, submissions: Iterable[Submission]) -> None:
        """Those that were taken and come first again, in the order in which they were taken."""
        for submission in reversed(list(submissions)):
            (self._questions if is_question(submission.command) else self._first).appendleft(submission)
