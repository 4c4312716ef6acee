"""The directory: who takes part, with which accounts, and where their callbacks go.

It changes seldom and is asked for every payment, so it is read as a whole, kept in memory as an immutable
value, and read anew when the version in the ``scheme`` table has moved. A batch compares that version inside
its own transaction: what it decides by is never stale, with any number of hub processes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from vuka.ids import FspId
from vuka.money import Currency
from vuka.store import Tx

POSITION: Final = "POSITION"
SETTLEMENT: Final = "SETTLEMENT"
HEADROOM: Final = "HEADROOM"
HUB_RECONCILIATION: Final = "HUB_RECONCILIATION"
HUB_MULTILATERAL_SETTLEMENT: Final = "HUB_MULTILATERAL_SETTLEMENT"
HUB_ON_US: Final = "HUB_ON_US"

INTERNAL_ACCOUNT_TYPES: Final = frozenset((HEADROOM, HUB_ON_US))
"""Accounts that only the hub's own books have: no API of the reference shows them."""


class Account(msgspec.Struct, frozen=True):
    """One account of a participant. ``account_id`` is the number the administrative API shows."""

    account_id: int
    ledger_account_id: int
    currency: Currency
    type: str
    is_active: bool
    net_debit_cap: int | None
    """Minor units; only a position has one, and only once its limits are set. 0 where `liquidity_share` says it."""
    liquidity_share: int | None = None
    """The net debit cap as a share of the liquidity, in hundredths of a percent: see `vuka.switch.headroom.cap`."""
    alarm_percentage: int | None = None
    """Where in the use of its cap the alarm is: see `vuka.switch.alarms`. Only a position with limits has one."""


class SigningKey(msgspec.Struct, frozen=True):
    """A public key with which a participant signs its messages."""

    algorithm: str
    """``RS256`` or ``ES256``."""
    public_key: str
    """PEM, SubjectPublicKeyInfo."""
    fingerprint: str
    """SHA-256 of the key's DER, in hex."""


class Credential(msgspec.Struct, frozen=True):
    """What somebody shows to be let in, not revoked. Its secret is not kept; it is found by the secret's digest."""

    credential_id: int
    kind: str
    """``TOKEN``, ``API_KEY`` or ``CERTIFICATE``."""
    participant: FspId | None
    """Who it speaks for; None for an operator's."""
    name: str
    roles: frozenset[str]
    expires_ms: int | None


class Oracle(msgspec.Struct, frozen=True):
    """An oracle outside the hub, that knows which participant serves the parties of one type."""

    oracle_id: int
    party_id_type: str
    currency: str | None
    """None: any currency."""
    value: str
    """The base URL of its API."""
    is_default: bool


class SettlementModel(msgspec.Struct, frozen=True):
    """How what accounts of one type owe each other is settled."""

    settlement_model_id: int
    name: str
    is_active: bool
    granularity: str
    interchange: str
    delay: str
    currency: str | None
    """None: the default for every currency that has no model of its own for that account."""
    require_liquidity_check: bool
    ledger_account_type: str
    settlement_account_type: str
    auto_position_reset: bool

    @property
    def is_immediate(self) -> bool:
        """Whether each payment settles as it is committed, and not with its window."""
        return self.delay == "IMMEDIATE"

    @property
    def is_bilateral(self) -> bool:
        """Whether participants settle with each other, and not with all the others together."""
        return self.interchange == "BILATERAL"

    @property
    def is_gross(self) -> bool:
        """Whether what goes one way is not set off against what goes the other."""
        return self.granularity == "GROSS"


class RuleSet(msgspec.Struct, frozen=True):
    """The rules of one kind that are in force, as the JSON text in which they were given."""

    rule_set_id: int
    content: str


class Participant(msgspec.Struct, frozen=True):
    """One participant as the hub knows it."""

    participant_id: int
    name: FspId
    is_active: bool
    is_proxy: bool
    fspiop_version: str | None
    accounts: dict[tuple[str, str], Account]
    """By (currency, type)."""
    endpoints: dict[str, str]
    """URL or URL template, by endpoint type."""
    signatures: str | None = None
    """``REQUIRED`` or ``OFF``; None: as the deployment has it."""
    signing_keys: tuple[SigningKey, ...] = ()
    """Those not retired, the newest first."""

    def account(self, currency: str, account_type: str) -> Account | None:
        """Its account of that type in that currency, active or not."""
        return self.accounts.get((currency, account_type))


class Directory(msgspec.Struct, frozen=True):
    """Every participant, as of one version of the scheme's configuration."""

    version: int
    scheme_name: str
    participants: dict[str, Participant]
    open_window_id: int
    """The settlement window that a transfer committed now belongs to."""
    credentials: dict[bytes, Credential] = msgspec.field(default_factory=dict)
    """By the SHA-256 of the secret, or of what identifies the certificate."""
    oracles: tuple[Oracle, ...] = ()
    """Those that are active, in the order in which they were added."""
    rule_sets: dict[str, RuleSet] = msgspec.field(default_factory=dict)
    """By kind, e.g. ``quotes``."""
    settlement_models: tuple[SettlementModel, ...] = ()
    """All of them, active or not, in the order in which they were added."""

    def model_for(self, ledger_account_type: str, currency: str) -> SettlementModel | None:
        """The model in force for accounts of that type: the currency's own, else the newest of the defaults."""
        default: SettlementModel | None = None
        for model in reversed(self.settlement_models):
            if not model.is_active or model.ledger_account_type != ledger_account_type:
                continue
            if model.currency == currency:
                return model
            if model.currency is None and default is None:
                default = model
        return default

    def settles(self, model: SettlementModel, currency: str) -> bool:
        """Whether a model may settle a currency: its own, or as a default where the currency has none of its own."""
        if model.currency is not None:
            return model.currency == currency
        in_force = self.model_for(model.ledger_account_type, currency)
        # An immediate one settles no windows: what they held before it came is left to the default.
        return in_force is None or in_force.currency is None or in_force.is_immediate

    def get(self, name: str | None) -> Participant | None:
        """The participant of exactly that name."""
        return None if name is None else self.participants.get(name)

    def by_account(self, account_id: int) -> tuple[Participant, Account] | None:
        """Whose account that number is. For administration: it looks through all of them."""
        for participant in self.participants.values():
            for account in participant.accounts.values():
                if account.account_id == account_id:
                    return participant, account
        return None


class DirectoryCache:
    """The directory last read, and the check that it is still the one in the tables."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: Directory | None = None

    def load(self, tx: Tx) -> Directory:
        """The directory as ``tx`` sees it: one small query when nothing has changed.

        What a transaction changed and then rolled back is forgotten with it.
        """
        ((version,),) = tx.query('SELECT version FROM scheme WHERE "only" = 1')
        kept = self._kept
        if kept is not None and kept.version == version:
            return kept
        self._kept = read_directory(tx)
        tx.on_rollback(self._forget)
        return self._kept

    def _forget(self) -> None:
        self._kept = None


def read_directory(tx: Tx) -> Directory:
    """Reads the whole directory."""
    ((version, scheme_name),) = tx.query('SELECT version, name FROM scheme WHERE "only" = 1')
    ((window_id,),) = tx.query("SELECT MAX(settlement_window_id) FROM settlement_window WHERE state = 'OPEN'")
    accounts: dict[int, dict[tuple[str, str], Account]] = {}
    for participant_id, account_id, ledger_account_id, currency, account_type, is_active, cap, share, alarm in tx.query(
        """SELECT a.participant_id, a.account_id, a.ledger_account_id, a.currency, a.type, a.is_active, l.value,
                  l.liquidity_share, l.alarm_percentage
           FROM account a
           LEFT JOIN participant_limit l
             ON l.account_id = a.account_id AND l.type = 'NET_DEBIT_CAP' AND l.is_active = 1
           ORDER BY a.account_id"""
    ):
        ledger_id = int.from_bytes(ledger_account_id, "big")
        accounts.setdefault(participant_id, {})[currency, account_type] = Account(
            account_id, ledger_id, currency, account_type, bool(is_active), cap, share, alarm
        )
    endpoints: dict[int, dict[str, str]] = {}
    for participant_id, endpoint_type, value in tx.query("SELECT participant_id, type, value FROM endpoint"):
        endpoints.setdefault(participant_id, {})[endpoint_type] = value
    keys: dict[int, tuple[SigningKey, ...]] = {}
    for participant_id, algorithm, public_key, fingerprint in tx.query(
        """SELECT participant_id, algorithm, public_key, fingerprint FROM signing_key
           WHERE is_active = 1 ORDER BY signing_key_id DESC"""
    ):
        key = SigningKey(algorithm, public_key, fingerprint)
        keys[participant_id] = (*keys.get(participant_id, ()), key)
    participants = {
        name: Participant(
            participant_id,
            FspId(name),
            bool(is_active),
            bool(is_proxy),
            fspiop_version,
            accounts.get(participant_id, {}),
            endpoints.get(participant_id, {}),
            signatures,
            keys.get(participant_id, ()),
        )
        for participant_id, name, is_active, is_proxy, fspiop_version, signatures in tx.query(
            """SELECT participant_id, name, is_active, is_proxy, fspiop_version, signatures
               FROM participant ORDER BY participant_id"""
        )
    }
    return Directory(
        version,
        scheme_name,
        participants,
        window_id or 0,
        credentials=_read_credentials(tx),
        oracles=tuple(
            Oracle(oracle_id, party_id_type, currency, value, bool(is_default))
            for oracle_id, party_id_type, currency, value, is_default in tx.query(
                """SELECT oracle_id, party_id_type, currency, value, is_default FROM oracle
                   WHERE is_active = 1 ORDER BY oracle_id"""
            )
        ),
        rule_sets={
            kind: RuleSet(rule_set_id, content)
            for kind, rule_set_id, content in tx.query(
                "SELECT kind, rule_set_id, content FROM rule_set WHERE is_active = 1"
            )
        },
        settlement_models=settlement_models(tx),
    )


def settlement_models(tx: Tx) -> tuple[SettlementModel, ...]:
    """Every settlement model, in the order in which they were added."""
    return tuple(
        SettlementModel(
            settlement_model_id=row[0],
            name=row[1],
            is_active=bool(row[2]),
            granularity=row[3],
            interchange=row[4],
            delay=row[5],
            currency=row[6],
            require_liquidity_check=bool(row[7]),
            ledger_account_type=row[8],
            settlement_account_type=row[9],
            auto_position_reset=bool(row[10]),
        )
        for row in tx.query(
            """SELECT settlement_model_id, name, is_active, granularity, interchange, delay, currency,
                      require_liquidity_check, ledger_account_type, settlement_account_type, auto_position_reset
               FROM settlement_model ORDER BY settlement_model_id"""
        )
    )


def _read_credentials(tx: Tx) -> dict[bytes, Credential]:
    rows = tx.query(
        """SELECT c.digest, c.credential_id, c.kind, p.name, c.name, c.roles, c.expires_ms
           FROM credential c LEFT JOIN participant p ON p.participant_id = c.participant_id
           WHERE c.revoked_ms IS NULL"""
    )
    return {
        digest: Credential(credential_id, kind, FspId(fsp) if fsp else None, name, frozenset(roles.split()), expires_ms)
        for digest, credential_id, kind, fsp, name, roles, expires_ms in rows
    }
