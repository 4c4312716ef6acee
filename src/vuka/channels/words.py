"""What notifications read like: subject and plain text, for the participant and for the hub, as the reference's mails.

Figures come from the notification, amounts as people write them. There is nothing in it about a person.
"""

from __future__ import annotations

from collections.abc import Mapping

from vuka.fspiop.times import format_datetime_ms
from vuka.money import Amount, AmountError
from vuka.plugins import ADJUSTMENT, THRESHOLD_BREACH, Notification

_CAUSES = {
    "INITIAL": "It is the first.",
    "ADJUSTED": "An operator of the hub has adjusted it.",
    "SETTLEMENT": "A settlement has raised it: what is paid out to the participant is taken from the position first.",
}


def compose(
    *,
    delivery_id: str,
    kind: str,
    participant: str,
    recipient: str,
    currency: str,
    created_ms: int,
    data: Mapping[str, str],
    scheme: str,
    is_test: bool = False,
) -> Notification:
    """What one recipient is told."""
    words = _Words(participant, recipient == participant, currency, data)
    subject, sentences = words.told(kind)
    # A line end in a header would be another header.
    title = " ".join(scheme.split())
    if is_test:
        subject = f"Test: {subject}"
        sentences = ["This is a test of the channel: nothing of it has happened.", *sentences]
    greeting = f"Dear {participant}," if words.is_own else "Dear operator of the hub,"
    figures = "\n".join(
        f"  {name:<16}{value}" for name, value in (*words.figures(kind), ("At", format_datetime_ms(created_ms)))
    )
    footer = f"This message was written by the hub of the scheme {title}."
    return Notification(
        id=delivery_id,
        kind=kind,
        participant=participant,
        recipient=recipient,
        currency=currency,
        created_ms=created_ms,
        data=data,
        subject=f"[{title}] {subject}",
        text="\n\n".join((greeting, "\n".join(sentences), figures, footer)) + "\n",
        is_test=is_test,
    )


class _Words:
    """One notification, about to be told."""

    def __init__(self, participant: str, is_own: bool, currency: str, data: Mapping[str, str]) -> None:
        self.participant = participant
        self.is_own = is_own
        self._currency = currency
        self._data = data

    def told(self, kind: str) -> tuple[str, list[str]]:
        """The subject, and the sentences before the figures."""
        if kind == THRESHOLD_BREACH:
            return self._breach()
        if kind == ADJUSTMENT:
            return self._adjustment()
        return self._position_change()

    def _breach(self) -> tuple[str, list[str]]:
        data, cap = self._data, f"net debit cap in {self._currency}"
        threshold = f"{data.get('threshold', '?')} %"
        if data.get("event") == "CLEARED":
            return (
                f"{self.participant}: the alarm about the {cap} is over",
                [f"{self._whose('position')} is below the alarm threshold ({threshold}) of the {cap} again."],
            )
        used = f"{data['percentageUsed']} %" if "percentageUsed" in data else "more than all"
        sentences = [f"{self._whose('position')} has reached the alarm threshold ({threshold}) of the {cap}."]
        if self.is_own:
            sentences += [
                "Once it reaches the cap your outgoing transfers will be refused.",
                "Please take in time what steps you need to improve your position.",
            ]
        else:
            sentences.append("Once it reaches the cap its outgoing transfers will be refused.")
        subject = f"{self.participant} uses {used} of its {cap}"
        if "repeat" in data:
            sentences.append(f"This is reminder {data['repeat']} of at most {data['repeatsMax']} in one reset period.")
            subject = f"Reminder: {subject}"
        return subject, sentences

    def _adjustment(self) -> tuple[str, list[str]]:
        sentence = f"{self._whose(f'net debit cap in {self._currency}')} is {self._amount('limit')} now."
        return (
            f"Net debit cap of {self.participant}: {self._amount('limit')}",
            [sentence, _CAUSES.get(self._data.get("cause", ""), "")],
        )

    def _position_change(self) -> tuple[str, list[str]]:
        settlement = f"Settlement {self._data.get('settlementId', '?')}"
        whose = "your position" if self.is_own else f"the position of {self.participant}"
        return (
            f"{settlement} has moved the position of {self.participant} in {self._currency}",
            [f"{settlement} has moved {whose} in {self._currency}: it is {self._amount('position')} now."],
        )

    def figures(self, kind: str) -> list[tuple[str, str]]:
        """Names and values, those that are known."""
        data = self._data
        share = f" ({data['liquidityPercentage']} % of the liquidity)" if "liquidityPercentage" in data else ""
        lines = [("Participant", self.participant), ("Net debit cap", f"{self._amount('limit')}{share}")]
        if kind == ADJUSTMENT and "formerLimit" in data:
            lines.append(("Before", self._amount("formerLimit")))
        elif kind == ADJUSTMENT and "formerLiquidityPercentage" in data:
            lines.append(("Before", f"{data['formerLiquidityPercentage']} % of the liquidity"))
        lines.append(("Position", self._amount("position")))
        if "percentageUsed" in data:
            lines.append(("Used", f"{data['percentageUsed']} %"))
        lines.append(("Can still send", self._amount("available")))
        return lines

    def _whose(self, what: str) -> str:
        return f"Your {what}" if self.is_own else f"The {what} of {self.participant}"

    def _amount(self, name: str) -> str:
        text = f"{self._data.get(name, '?')} {self._currency}"
        try:
            return str(Amount.from_string(text))
        except AmountError:
            # A sum may be larger than what one amount holds: it is told as it is.
            return text
