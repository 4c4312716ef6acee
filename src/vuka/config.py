"""Configuration: one typed object, from a TOML file, overridden by ``VUKA_<SECTION>_<KEY>`` variables.

Every key states its meaning, unit and bounds beside its default; ``vuka config`` prints the effective values and
``vuka config --describe`` this page. Nothing else in the hub reads the environment.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from vuka.errors import OperatorError

ENVIRONMENT_PREFIX: Final = "VUKA_"
CONFIG_FILE: Final = "vuka.toml"
"""Where ``vuka init`` writes the configuration, in the data directory."""


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one API listens."""

    host: Annotated[str, Meta(description="Address to listen on. Loopback unless you say otherwise.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 0
    tls_certificate_file: Annotated[
        str,
        Meta(description="To speak TLS: the certificate (PEM), those above it after it. Empty: plain HTTP."),
    ] = ""
    tls_key_file: Annotated[str, Meta(description="The certificate's private key (PEM, without a password).")] = ""
    client_ca_file: Annotated[
        str,
        Meta(
            description=(
                "The authorities (PEM) whose client certificates are believed: callers may show one. Empty: none is "
                "asked for."
            )
        ),
    ] = ""
    client_certificate: Annotated[
        str,
        Meta(
            pattern="^(optional|required)$",
            description="With client_ca_file: `required` speaks to nobody without a certificate, `optional` does.",
        ),
    ] = "optional"
    client_crl_file: Annotated[
        str,
        Meta(
            description=(
                "The revocation lists (PEM) of all those authorities, one after the other. Empty: none is looked at."
            )
        ),
    ] = ""
    client_certificate_header: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9-]*$",
            description=(
                "The header in which a gateway in front passes on the subject, the SHA-256 fingerprint or the PEM of "
                "the client's certificate, e.g. x-ssl-client-s-dn. Empty: none is believed."
            ),
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Meta(
            description=(
                "Addresses and networks, separated by commas, from which a gateway's headers about the caller are "
                "believed; of anybody else they are struck out."
            )
        ),
    ] = "127.0.0.0/8,::1"

    @property
    def believes_gateway(self) -> bool:
        """Whether a gateway in front, from a trusted address, says who callers are."""
        return bool(self.client_certificate_header)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it. A name other than ``localhost`` may stand for any address."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class ParticipantsApi(Listener, frozen=True, forbid_unknown_fields=True):
    """The participants' API (FSPIOP)."""

    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 4000
    authentication: Annotated[
        str,
        Meta(
            pattern="^(auto|required|source-header)$",
            description=(
                "Who a caller is: `required` wants a bearer token, an API key or a certificate; `source-header` "
                "believes FSPIOP-Source, for test rigs; `auto` is `source-header` on a loopback address where neither "
                "a gateway in front nor a client certificate is believed, else `required`."
            ),
        ),
    ] = "auto"
    trust_client_id: Annotated[
        bool,
        Meta(description="Take the x-client-id header, which a gateway in front sets, for who the caller is."),
    ] = False
    body_bytes_max: Annotated[int, Meta(ge=1024, description="Largest body accepted, in bytes.")] = 5_242_880
    request_seconds_max: Annotated[
        int, Meta(ge=1, description="How long a request may take from its first byte to its last, in seconds.")
    ] = 30
    connections_max: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Connections at once; one more is answered 503 and closed. Fewer where the system lets the hub open "
                "too few files: then the log says so."
            ),
        ),
    ] = 10_000

    @property
    def believes_gateway(self) -> bool:
        """Whether a gateway in front, from a trusted address, says who callers are."""
        return self.trust_client_id or bool(self.client_certificate_header)

    @property
    def requires_authentication(self) -> bool:
        """Whether participants must show a credential."""
        if self.authentication != "auto":
            return self.authentication == "required"
        # A gateway on the same machine brings callers from anywhere to a loopback address.
        return self.believes_gateway or bool(self.client_ca_file) or not self.is_loopback


class OperatorsApi(Listener, frozen=True, forbid_unknown_fields=True):
    """The operators' API: administration, health, metrics."""

    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 4001
    authentication: Annotated[
        str,
        Meta(
            pattern="^(auto|required|open)$",
            description=(
                "Who may operate the hub: `required` wants a bearer token or a certificate with the role that the "
                "request needs; `open` lets anybody do anything; `auto` is `open` on a loopback address where neither "
                "a gateway in front nor a client certificate is believed, else `required`."
            ),
        ),
    ] = "auto"

    @property
    def requires_authentication(self) -> bool:
        """Whether operators must show a credential."""
        if self.authentication != "auto":
            return self.authentication == "required"
        return bool(self.client_certificate_header or self.client_ca_file) or not self.is_loopback


class OAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Access tokens (JWT) of authorization servers, shown as bearer tokens."""

    issuers: Annotated[
        str, Meta(description="Whose tokens are believed: their `iss`, separated by commas. Empty: nobody's.")
    ] = ""
    keys: Annotated[
        str,
        Meta(description="For each of them, in their order: its key set (JWKS), a file or a URL of https."),
    ] = ""
    ca_file: Annotated[
        str,
        Meta(description="The authorities (PEM) to believe of those URLs. Empty: those that the system believes."),
    ] = ""
    participants_audience: Annotated[
        str, Meta(description="The `aud` of participants' tokens. Empty: their API takes no such tokens.")
    ] = ""
    participant_claim: Annotated[
        str, Meta(min_length=1, description="The claim that says which participant: a name, or a path with dots.")
    ] = "client_id"
    participants: Annotated[
        str,
        Meta(
            description=(
                "Which participants its values stand for, e.g. client-17=greenbank,client-18=pesapay; with an issuer "
                "and a space before a value, of that issuer alone. Empty: each for the participant of that name, "
                "whoever of the issuers says it."
            )
        ),
    ] = ""
    operators_audience: Annotated[
        str, Meta(description="The `aud` of operators' tokens. Empty: their API takes no such tokens.")
    ] = ""
    operator_claim: Annotated[
        str, Meta(min_length=1, description="The claim with the operator's name, for the records and the log.")
    ] = "sub"
    roles_claim: Annotated[
        str,
        Meta(
            min_length=1,
            description="The claim with its roles: a list, or a text with spaces, e.g. realm_access.roles or scope.",
        ),
    ] = "roles"
    roles: Annotated[
        str,
        Meta(
            description=(
                "Which roles its values stand for, e.g. hub-staff=operate,hub-treasury=finance; with an issuer and a "
                "space before a value, of that issuer alone. Empty: each for the role of that name."
            )
        ),
    ] = ""
    algorithms: Annotated[
        str,
        Meta(
            pattern="^(RS256|PS256|ES256)(,(RS256|PS256|ES256))*$",
            description="With what tokens may be signed, of RS256, PS256 and ES256.",
        ),
    ] = "RS256,PS256,ES256"
    leeway_seconds: Annotated[
        int, Meta(ge=0, le=300, description="How far the server's clock may be from the hub's, in seconds.")
    ] = 30
    refresh_seconds: Annotated[
        int, Meta(ge=1, description="How old fetched keys may be before they are fetched anew, in seconds.")
    ] = 3_600
    refresh_seconds_min: Annotated[
        int,
        Meta(ge=1, description="Least time between two fetches when a token has a key that is not known, in seconds."),
    ] = 30
    timeout_ms: Annotated[int, Meta(ge=1, description="Longest wait for a key set, in ms.")] = 5_000


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the records are."""

    url: Annotated[
        str,
        Meta(
            pattern="^(|postgres(ql)?://.*)$",
            description=(
                "A PostgreSQL database, e.g. postgresql://vuka@db.example/vuka; the password belongs in PGPASSFILE or "
                "PGPASSWORD. Empty: one SQLite file in the data directory."
            ),
        ),
    ] = ""

    @property
    def url_shown(self) -> str:
        """The URL as it may be printed or written down: without a password."""
        without = re.sub(r"^(\w+://[^/:@]*):[^@]*@", r"\1@", self.url)
        return re.sub(r"([?&])password=[^&]*&?", r"\1", without).rstrip("?&")


class Signatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signatures of messages (JWS)."""

    verify: Annotated[
        bool, Meta(description="Require participants to sign; one of them may be set apart from the rest.")
    ] = False
    verify_put_parties: Annotated[
        bool, Meta(description="Require a signature on PUT /parties too, which the usual SDK leaves unsigned.")
    ] = False
    date_age_seconds_max: Annotated[
        int,
        Meta(
            ge=0,
            description=(
                "How old a signed message may be, in seconds by its Date, which must be signed too; 0: however old. "
                "Off, because a message sent again after hours may carry its first Date, and ids make it harmless."
            ),
        ),
    ] = 0
    date_future_seconds_max: Annotated[
        int,
        Meta(
            ge=0, description="With date_age_seconds_max: how far ahead of the hub's clock a Date may be, in seconds."
        ),
    ] = 60
    hub_key_file: Annotated[
        str,
        Meta(description="The hub's private key (PEM, RSA or P-256) to sign what it makes itself. Empty: unsigned."),
    ] = ""


class Oracles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Oracles outside the hub."""

    timeout_ms: Annotated[int, Meta(ge=1, description="Longest wait for an oracle's answer, in ms.")] = 5_000
    cache_ms: Annotated[
        int, Meta(ge=0, description="How long an oracle's answer may be used again, in ms; 0: not at all.")
    ] = 0
    cache_entries_max: Annotated[int, Meta(ge=1, description="Most answers kept.")] = 10_000
    ca_file: Annotated[
        str,
        Meta(
            description="The authorities (PEM) to believe of oracles with https. Empty: those that the system believes."
        ),
    ] = ""
    in_flight_max: Annotated[
        int, Meta(ge=1, description="Questions under way at once; one more is refused with 503.")
    ] = 1_000


class Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules that a scheme may choose."""

    on_us_transfers: Annotated[
        bool, Meta(description="Allow a transfer whose payer and payee are the same participant.")
    ] = False
    check_payee_account: Annotated[
        bool, Meta(description="Refuse a transfer at once when the payee has no active account in its currency.")
    ] = False
    parties_by_owner_only: Annotated[
        bool, Meta(description="Let a participant register parties for itself only, not for another participant.")
    ] = True
    confirm_to_payee: Annotated[
        bool, Meta(description="Tell a payee that answered COMMITTED (FSPIOP 1.0 style) that the hub committed too.")
    ] = True
    fulfil_age_seconds_max: Annotated[
        int, Meta(ge=1, description="Oldest completedTimestamp accepted in a fulfilment, in seconds.")
    ] = 300
    fulfil_future_ms_max: Annotated[
        int, Meta(ge=0, description="How far ahead of the hub's clock a completedTimestamp may be, in milliseconds.")
    ] = 200
    funds_out_validity_seconds: Annotated[
        int, Meta(ge=1, description="How long a reserved withdrawal waits for its commit, in seconds.")
    ] = 432_000
    result_deadline_seconds: Annotated[
        int, Meta(ge=1, description="How long a final result or an error is worth sending, in seconds.")
    ] = 86_400
    routed_deadline_seconds: Annotated[
        int, Meta(ge=1, description="How long a lookup or its answer is worth sending, in seconds.")
    ] = 30
    hub_version: Annotated[
        str,
        Meta(pattern=r"^(1\.0|1\.1|2\.0)$", description="FSPIOP version of messages to one whose version is unknown."),
    ] = "2.0"


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the money is. A hub keeps the ledger it was made with."""

    engine: Annotated[
        str,
        Meta(
            pattern="^(embedded|tigerbeetle)$",
            description="`embedded`: in the hub's own database; `tigerbeetle`: in a TigerBeetle cluster of its own.",
        ),
    ] = "embedded"
    addresses: Annotated[
        str, Meta(pattern="^[!-~]+$", description="The cluster's replicas in their order, separated by commas.")
    ] = "127.0.0.1:3000"
    cluster_id: Annotated[
        str, Meta(pattern="^[0-9]{1,39}$", description="The cluster's number, as it was formatted with.")
    ] = "0"
    timeout_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=10_000,
            description="Longest wait for the cluster's answer, in ms; then requests are refused until it comes.",
        ),
    ] = 5_000


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Batching and overload."""

    batch_max: Annotated[int, Meta(ge=1, le=4_000, description="Most commands in one commit.")] = 200
    queue_max: Annotated[
        int,
        Meta(ge=1, description="Questions that may wait, and as many answers; one more is refused with 503."),
    ] = 2_000
    timer_ms: Annotated[int, Meta(ge=10, le=10_000, description="How often expiry is looked for, in milliseconds.")] = (
        500
    )
    drain_seconds: Annotated[
        int, Meta(ge=0, description="How long a shutdown waits for messages in flight, in seconds.")
    ] = 10


class Courier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delivery of messages to participants."""

    connect_timeout_ms: Annotated[int, Meta(ge=1, description="Longest wait for a connection, in ms.")] = 2_000
    timeout_ms: Annotated[int, Meta(ge=1, description="Longest wait for an answer, in ms.")] = 10_000
    in_flight_max: Annotated[int, Meta(ge=1, description="Messages under way to one participant at once.")] = 32
    queue_max: Annotated[
        int, Meta(ge=1, description="Messages for one participant kept in memory; more wait in the outbox.")
    ] = 10_000
    retry_first_ms: Annotated[int, Meta(ge=1, description="Wait before the second attempt, in ms; doubles.")] = 200
    retry_max_ms: Annotated[int, Meta(ge=1, description="Longest wait between attempts, in ms.")] = 30_000
    probe_max_ms: Annotated[
        int, Meta(ge=1, description="Longest wait before a participant that keeps failing is tried again, in ms.")
    ] = 5_000
    ca_file: Annotated[
        str,
        Meta(
            description=(
                "The authorities (PEM) to believe of participants with https. Empty: those that the system believes."
            )
        ),
    ] = ""


class Outbound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom the hub may call: participants, oracles, webhooks; and what it shows them."""

    https_only: Annotated[bool, Meta(description="Call nobody but by https.")] = False
    allowed: Annotated[
        str,
        Meta(
            description=(
                "The only ones that may be called: hosts (dfsp.example), domains (.example) and networks (10.0.0.0/8), "
                "separated by commas. A network named here may be called though it is of the inside. Empty: anybody."
            )
        ),
    ] = ""
    loopback: Annotated[
        str,
        Meta(
            pattern="^(auto|allow|refuse)$",
            description=(
                "Whether what listens on this machine, on loopback or another address of it, may be called: `auto` "
                "does so exactly while both APIs listen on loopback and believe no gateway, which brings callers from "
                "anywhere. The hub itself never is."
            ),
        ),
    ] = "auto"
    client_certificate_file: Annotated[
        str,
        Meta(description="The certificate (PEM) that the hub shows where it is asked for one. Empty: none."),
    ] = ""
    client_key_file: Annotated[str, Meta(description="Its private key (PEM, without a password).")] = ""


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The message journal."""

    enabled: Annotated[bool, Meta(description="Keep every message in and out, to trace and prove payments.")] = True
    retention_days: Annotated[int, Meta(ge=1, description="How long messages are kept, in days.")] = 90


class AuditLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log."""

    key_file: Annotated[
        str,
        Meta(
            description=(
                "The key (PEM, Ed25519) that signs the audit log. Empty: auditlog.pem in the data directory, which "
                "is made when it is missing."
            )
        ),
    ] = ""
    checkpoint_minutes: Annotated[
        int,
        Meta(ge=1, le=1_440, description="How often the audit log is signed while anything is added, in minutes."),
    ] = 60


class Notifications(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Notifications: what people are told, by which channels, and when an alarm is raised."""

    log: Annotated[bool, Meta(description="Write a line of the log for each notification.")] = True
    webhook: Annotated[
        bool, Meta(description="POST notifications to whoever has an ALARM_NOTIFICATION_URL endpoint.")
    ] = True
    webhook_secret: Annotated[
        str,
        Meta(
            description="Signs the bodies of webhooks (HMAC-SHA256, header Vuka-Signature). Empty: unsigned.",
            extra={"secret": True},
        ),
    ] = ""
    webhook_secret_file: Annotated[
        str, Meta(description="A file that holds webhook_secret, instead of the key itself.")
    ] = ""
    smtp_host: Annotated[str, Meta(description="The mail server that takes e-mails. Empty: none are sent.")] = ""
    smtp_port: Annotated[int, Meta(ge=1, le=65535, description="Its port: 587 with STARTTLS, 465 with TLS.")] = 587
    smtp_security: Annotated[
        str,
        Meta(
            pattern="^(starttls|tls|none)$",
            description=(
                "How the connection to it is encrypted: `starttls`, `tls` from the first byte, or `none`, which takes "
                "a password to this machine only."
            ),
        ),
    ] = "starttls"
    smtp_ca_file: Annotated[
        str, Meta(description="Certificates (PEM) by which its own is checked. Empty: those of the system.")
    ] = ""
    smtp_user: Annotated[str, Meta(description="The name to log in to it with. Empty: without logging in.")] = ""
    smtp_password: Annotated[
        str, Meta(description="The password of smtp_user; better in its variable or file.", extra={"secret": True})
    ] = ""
    smtp_password_file: Annotated[
        str, Meta(description="A file that holds smtp_password, instead of the key itself.")
    ] = ""
    smtp_from: Annotated[str, Meta(description="The address e-mails are from, e.g. hub@scheme.example.")] = ""
    timeout_ms: Annotated[int, Meta(ge=1, description="Longest wait for one delivery by any channel, in ms.")] = 15_000
    at_once_max: Annotated[int, Meta(ge=1, le=64, description="Deliveries under way at once, for each channel.")] = 4
    attempts_max: Annotated[
        int, Meta(ge=1, description="Attempts before a delivery is parked, where operators see it and can resend it.")
    ] = 12
    retry_first_ms: Annotated[int, Meta(ge=1, description="Wait before the second attempt, in ms; doubles.")] = 5_000
    retry_max_ms: Annotated[int, Meta(ge=1, description="Longest wait between attempts, in ms.")] = 1_800_000
    retention_days: Annotated[
        int, Meta(ge=1, description="How long notifications are kept that are delivered, in days.")
    ] = 90
    parked_retention_days: Annotated[
        int,
        Meta(ge=1, description="How long those with a parked delivery are kept, in days, where that is longer."),
    ] = 365
    alarm_check_ms: Annotated[
        int,
        Meta(
            ge=10,
            description="How often the use of net debit caps is looked at, in ms; no oftener than engine.timer_ms.",
        ),
    ] = 1_000
    alarm_counts: Annotated[
        str,
        Meta(
            pattern="^(used|left)$",
            description=(
                "What a limit's alarmPercentage counts: `used` of the cap, or, as Mojaloop's event processor has it, "
                "`left` of it, so that 10 raises the alarm at 90 %."
            ),
        ),
    ] = "used"
    alarm_hysteresis_percent: Annotated[
        int,
        Meta(ge=0, le=100, description="How far use must fall below an alarm's threshold to end it, in % of the cap."),
    ] = 5
    alarm_repeats_max: Annotated[
        int, Meta(ge=0, description="Reminders of a standing alarm within one reset period; 0: none.")
    ] = 3
    alarm_repeat_minutes: Annotated[int, Meta(ge=1, description="Least time between reminders, in minutes.")] = 15
    alarm_reset_minutes: Annotated[
        int, Meta(ge=1, description="The reset period, in minutes: after it reminders are counted from 0 again.")
    ] = 1_440

    def __repr__(self) -> str:
        """Without values: two of them are secrets."""
        return "Notifications(…)"


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Logging."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$", description="Least severity written.")] = "info"
    json: Annotated[bool, Meta(description="One JSON object a line, rather than text for people.")] = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration of a hub."""

    data_dir: Annotated[str, Meta(description="The directory that holds the hub's database.")] = "vuka-data"
    store: Store = Store()
    participants_api: ParticipantsApi = ParticipantsApi()
    operators_api: OperatorsApi = OperatorsApi()
    oauth: OAuth = OAuth()
    scheme: Scheme = Scheme()
    signatures: Signatures = Signatures()
    oracles: Oracles = Oracles()
    ledger: Ledger = Ledger()
    engine: Engine = Engine()
    courier: Courier = Courier()
    outbound: Outbound = Outbound()
    journal: Journal = Journal()
    auditlog: AuditLog = AuditLog()
    notifications: Notifications = Notifications()
    log: Log = Log()

    @property
    def database_path(self) -> Path:
        """The SQLite file in the data directory."""
        return Path(self.data_dir) / "vuka.db"

    @property
    def place(self) -> Path | str:
        """Where the records are: the SQLite file, or the URL of a PostgreSQL database."""
        return self.store.url or self.database_path

    @property
    def place_shown(self) -> str:
        """The same for people: the data directory, or the URL without its password."""
        return self.store.url_shown or self.data_dir

    def shown(self) -> Config:
        """The configuration as it may be printed or written down: without secrets."""
        return msgspec.structs.replace(self, store=msgspec.structs.replace(self.store, url=self.store.url_shown))


class Setting(msgspec.Struct, frozen=True):
    """One documented key."""

    name: str
    variable: str
    default: object
    meaning: str
    is_secret: bool = False
    """Whether its value is shown nowhere."""


def load(file: Path | None, environment: Mapping[str, str], **overrides: object) -> Config:
    """The effective configuration: ``overrides``, then the environment, then the file, then the defaults.

    ``overrides`` are top-level keys (``data_dir``). Raises `OperatorError` with a sentence that names the key.
    """
    raw: dict[str, Any] = {}
    if file is not None:
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise OperatorError(f"There is no configuration file {file}.") from None
        except (OSError, ValueError) as error:
            raise OperatorError(f"{file} cannot be read as TOML: {error}.") from None
        except RecursionError:
            raise OperatorError(f"{file} cannot be read as TOML: it is nested too deeply.") from None
    known = {setting.variable: setting.name for setting in settings()}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable not in known:
            continue
        _check_text(variable, text)
        section, _, key = known[variable].rpartition(".")
        target = raw.setdefault(section, {}) if section else raw
        # What is no section is refused below, by its name.
        if isinstance(target, dict):
            target[key] = text
    for key, value in overrides.items():
        _check_text(key, value)
    raw.update({key: value for key, value in overrides.items() if value is not None})
    try:
        # Values of the environment are text: `strict=False` reads "4000" and "true" as what the key needs.
        return msgspec.convert(raw, Config, strict=False)
    except msgspec.ValidationError as error:
        raise OperatorError(f"The configuration is not valid: {error}. See `vuka config --describe`.") from None


def _check_text(name: str, value: object) -> None:
    """Refuses what can't be written down. The system hands over any bytes, those that are no text as surrogates."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise OperatorError(f"The configuration is not valid: {name} is not UTF-8.") from None


def settings() -> Iterator[Setting]:
    """Every key with its variable, default and meaning, in the order of the file."""
    yield from _settings_of(Config, "", Config())


def _settings_of(struct: type[msgspec.Struct], prefix: str, defaults: msgspec.Struct) -> Iterator[Setting]:
    for name, hint in get_type_hints(struct, include_extras=True).items():
        default = getattr(defaults, name)
        if isinstance(default, msgspec.Struct):
            yield from _settings_of(type(default), f"{prefix}{name}.", default)
            continue
        meta = next((each for each in get_args(hint) if isinstance(each, Meta)), None)
        meaning = meta.description if get_origin(hint) is Annotated and meta is not None else None
        dotted = prefix + name
        variable = ENVIRONMENT_PREFIX + dotted.replace(".", "_").upper()
        is_secret = meta is not None and bool((meta.extra or {}).get("secret"))
        yield Setting(dotted, variable, default, meaning or "", is_secret)


def shown(config: Config) -> dict[str, Any]:
    """The values by section and key, secrets left out: whoever asks what is in force may not be alone."""
    values: dict[str, Any] = msgspec.to_builtins(config.shown())
    for setting in settings():
        section, _, key = setting.name.rpartition(".")
        if setting.is_secret:
            values[section][key] = setting.default
    return values


def to_toml(config: Config) -> str:
    """The configuration as the file ``vuka init`` writes, each key with its meaning above it and secrets left out."""
    values = shown(config)
    lines = ["# The configuration of this hub. Each key may be overridden by its variable, e.g. VUKA_ENGINE_BATCH_MAX."]
    section = ""
    for setting in settings():
        here, _, key = setting.name.rpartition(".")
        if here != section:
            section = here
            lines += ["", f"[{section}]"]
        value = values[here][key] if here else values[key]
        lines += [f"# {setting.meaning}", f"{key} = {_toml_value(value)}"]
        if setting.is_secret and getattr(getattr(config, here), key) != value:
            lines[-1] += "  # It is set, and not shown."
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # TOML's texts are JSON's, but for one character that JSON lets stand.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
