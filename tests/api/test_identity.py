"""Who a participant's request is from: what it shows, and what that must agree with."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.authorization_server import ISSUER, PARTICIPANTS, AuthorizationServer

from vuka.api.identity import (
    certificate_digest,
    certificate_identities,
    identifier,
    registered_identity,
    secret_digest,
    without,
)
from vuka.api.tokens import AccessTokens
from vuka.config import OAuth, ParticipantsApi
from vuka.errors import FspiopError, OperatorError
from vuka.fspiop.headers import Headers
from vuka.httpserver import Peer
from vuka.ids import FspId
from vuka.switch.directory import Credential, Directory, Participant

NOW_MS = 1_700_000_000_000
BANK, WALLET, PROXY = FspId("bank-a"), FspId("wallet-b"), FspId("proxy-x")
CERTIFICATE_HEADER = "X-Ssl-Client-Cert"

BANK_TOKEN = "vuka_bank-token"
BANK_SECOND_TOKEN = "vuka_bank-second-token"
BANK_KEY = "vuka_bank-key"
WALLET_KEY = "vuka_wallet-key"
PROXY_TOKEN = "vuka_proxy-token"
OPERATOR_TOKEN = "vuka_operator-token"
EXPIRED_TOKEN = "vuka_expired-token"
SUBJECT = "CN=bank-a,O=Bank A,C=KE"


def make_certificate(subject: str = SUBJECT) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(subject)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), at, at)
    return builder.sign(key, SHA256())


CERTIFICATE = make_certificate()
FINGERPRINT = CERTIFICATE.fingerprint(SHA256()).hex()
PEM = CERTIFICATE.public_bytes(Encoding.PEM).decode()
OTHER_PEM = make_certificate("CN=stranger").public_bytes(Encoding.PEM).decode()


def _credential(number: int, kind: str, participant: FspId | None, expires_ms: int | None = None) -> Credential:
    roles = frozenset(("admin",)) if participant is None else frozenset[str]()
    return Credential(number, kind, participant, "somebody", roles, expires_ms)


def directory(*certificates: str) -> Directory:
    """bank-a with tokens, a key and these identities of a certificate; wallet-b with a key; a proxy; an operator."""
    return Directory(
        version=1,
        scheme_name="Test",
        participants={
            name: Participant(number, name, True, name == PROXY, None, {}, {})
            for number, name in enumerate((BANK, WALLET, PROXY), 2)
        },
        open_window_id=1,
        credentials={
            secret_digest(BANK_TOKEN): _credential(1, "TOKEN", BANK),
            secret_digest(BANK_SECOND_TOKEN): _credential(2, "TOKEN", BANK, NOW_MS + 1),
            secret_digest(BANK_KEY): _credential(3, "API_KEY", BANK),
            secret_digest(WALLET_KEY): _credential(4, "API_KEY", WALLET),
            secret_digest(PROXY_TOKEN): _credential(5, "TOKEN", PROXY),
            secret_digest(OPERATOR_TOKEN): _credential(6, "TOKEN", None),
            secret_digest(EXPIRED_TOKEN): _credential(7, "TOKEN", BANK, NOW_MS),
            **{
                certificate_digest(each): _credential(number, "CERTIFICATE", BANK)
                for number, each in enumerate(certificates, 8)
            },
        },
    )


def who(
    *shown: tuple[str, str],
    registered: Sequence[str] = (f"subject:{SUBJECT}",),
    trust_client_id: bool = False,
    certificate_header: str = "",
    authentication: str = "required",
    trusted_proxies: str = "127.0.0.0/8,::1",
    peer: Peer | None = None,
) -> str | None:
    """Whom a request from bank-a turns out to be from."""
    settings = ParticipantsApi(
        authentication=authentication,
        trust_client_id=trust_client_id,
        client_certificate_header=certificate_header,
        trusted_proxies=trusted_proxies,
    )
    found = directory(*registered)
    identify = identifier(settings, lambda: found, lambda: NOW_MS)
    return identify(Headers([("Date", "today"), ("FSPIOP-Source", BANK), *shown]), peer or Peer("127.0.0.1"))


def refused(*shown: tuple[str, str], **settings: bool | str | Peer) -> tuple[int, str, str, str]:
    """Status, code, description and WWW-Authenticate of a refusal."""
    with pytest.raises(FspiopError) as caught:
        who(*shown, **settings)  # type: ignore[arg-type]
    error = caught.value
    return error.status, error.code, error.description, dict(error.headers).get("WWW-Authenticate", "")


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


NOTHING_SHOWN = (401, "3000", "Generic client error - authentication is required", 'Bearer realm="vuka"')
NOT_VALID = (
    401,
    "3000",
    "Generic client error - the credential is not valid, or no longer",
    'Bearer realm="vuka", error="invalid_token"',
)


# --- tokens and keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown",
    [
        bearer(BANK_TOKEN),
        ("authorization", f"bearer  {BANK_TOKEN} "),
        bearer(BANK_SECOND_TOKEN),
        ("X-Api-Key", BANK_KEY),
    ],
)
def test_a_credential_says_who_calls(shown: tuple[str, str]) -> None:
    assert who(shown) == BANK


def test_nothing_shown_is_401_and_says_how_to_show_something() -> None:
    assert refused() == NOTHING_SHOWN


@pytest.mark.parametrize(
    "shown",
    [
        bearer("vuka_nobodys"),
        bearer(EXPIRED_TOKEN),
        bearer(OPERATOR_TOKEN),
        bearer("another-issuers"),
        bearer(""),
        ("Authorization", "Basic YmFuay1hOnBhc3N3b3Jk"),
        ("X-Api-Key", "nobodys"),
        ("X-Api-Key", ""),
    ],
    ids=["unknown", "expired", "an operator's", "another issuer's", "empty", "Basic", "unknown key", "empty key"],
)
def test_whatever_is_wrong_with_a_credential_the_answer_is_the_same(shown: tuple[str, str]) -> None:
    assert refused(shown) == NOT_VALID


def test_a_key_is_no_token_and_a_token_no_key() -> None:
    assert refused(bearer(BANK_KEY)) == NOT_VALID
    assert refused(("X-Api-Key", BANK_TOKEN)) == NOT_VALID


def test_what_identifies_a_certificate_is_no_secret_and_no_token() -> None:
    for filed in (f"subject:{SUBJECT}", f"certificate subject:{SUBJECT}"):
        assert refused(("X-Api-Key", filed)) == NOT_VALID
        assert refused(bearer(filed)) == NOT_VALID


def test_a_wrong_credential_beside_a_right_one_is_refused() -> None:
    assert refused(bearer(BANK_TOKEN), ("X-Api-Key", "nobodys")) == NOT_VALID


# --- several identities -----------------------------------------------------------------------------------------------


SEVERAL = "Generic validation error - the request shows several callers that are not the same participant"


def test_several_credentials_of_one_participant_agree() -> None:
    assert who(bearer(BANK_TOKEN), ("X-Api-Key", BANK_KEY), bearer(BANK_SECOND_TOKEN)) == BANK


def test_credentials_of_different_participants_are_refused() -> None:
    assert refused(bearer(BANK_TOKEN), ("X-Api-Key", WALLET_KEY))[:3] == (400, "3100", SEVERAL)


def test_a_header_that_stands_twice_with_different_callers_is_refused() -> None:
    assert refused(("X-Api-Key", BANK_KEY), ("x-api-key", WALLET_KEY))[:3] == (400, "3100", SEVERAL)


def test_a_client_id_that_nobody_vouches_for_must_agree_all_the_same() -> None:
    assert who(bearer(BANK_TOKEN), ("x-client-id", BANK)) == BANK
    assert refused(bearer(BANK_TOKEN), ("x-client-id", WALLET))[:3] == (400, "3100", SEVERAL)


# --- gateways ---------------------------------------------------------------------------------------------------------


def test_a_client_id_is_believed_where_the_gateway_is_trusted() -> None:
    assert who(("X-Client-Id", BANK), trust_client_id=True) == BANK


def test_a_client_id_lets_nobody_in_where_no_gateway_is_trusted() -> None:
    assert refused(("X-Client-Id", BANK)) == NOTHING_SHOWN


def test_an_empty_client_id_is_nobody() -> None:
    assert refused(("X-Client-Id", ""), trust_client_id=True) == NOTHING_SHOWN


def test_a_gateways_own_token_is_left_to_the_gateway() -> None:
    assert who(bearer("eyJhbGciOi.of.the-gateway"), ("X-Client-Id", BANK), trust_client_id=True) == BANK


def test_a_gateways_own_token_alone_lets_nobody_in() -> None:
    assert refused(bearer("eyJhbGciOi.of.the-gateway"), trust_client_id=True) == NOTHING_SHOWN


def test_a_token_of_ours_is_checked_behind_a_gateway_too() -> None:
    assert refused(bearer(EXPIRED_TOKEN), ("X-Client-Id", BANK), trust_client_id=True) == NOT_VALID


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        SUBJECT,
        FINGERPRINT,
        FINGERPRINT.upper(),
        ":".join(FINGERPRINT[at : at + 2] for at in range(0, 64, 2)),
        quote(PEM, safe=""),
        quote(PEM, safe="+=/"),
        PEM.replace("\n", " "),
        f":{''.join(PEM.splitlines()[1:-1])}:",
    ],
    ids=["subject", "fingerprint", "upper case", "colons", "escaped PEM", "escaped in part", "spaces", "RFC 9440"],
)
def test_a_certificate_says_who_calls_however_the_gateway_passes_it_on(text: str) -> None:
    registered = [f"subject:{SUBJECT}", f"sha256:{FINGERPRINT}"]
    shown = (CERTIFICATE_HEADER, text)
    assert who(shown, registered=registered, certificate_header=CERTIFICATE_HEADER.lower()) == BANK


def test_a_whole_certificate_is_known_by_its_subject_or_its_fingerprint() -> None:
    for registered in (f"subject:{SUBJECT}", f"sha256:{FINGERPRINT}"):
        shown = (CERTIFICATE_HEADER, quote(PEM))
        assert who(shown, registered=[registered], certificate_header=CERTIFICATE_HEADER) == BANK


@pytest.mark.parametrize(
    "text",
    ["CN=stranger", "CN=bank-a,O=Bank A", "/C=KE/O=Bank A/CN=bank-a", "ab" * 32, "ab" * 20, quote(OTHER_PEM), "?"],
)
def test_a_certificate_of_nobody_lets_nobody_in(text: str) -> None:
    assert refused((CERTIFICATE_HEADER, text), certificate_header=CERTIFICATE_HEADER) == NOT_VALID


@pytest.mark.parametrize("text", ["", " ", "(null)"])
def test_without_a_certificate_another_credential_counts(text: str) -> None:
    shown = (CERTIFICATE_HEADER, text)
    assert who(shown, bearer(BANK_TOKEN), certificate_header=CERTIFICATE_HEADER) == BANK
    assert refused(shown, certificate_header=CERTIFICATE_HEADER) == NOTHING_SHOWN


def test_a_certificate_and_a_token_of_different_participants_are_refused() -> None:
    shown = ((CERTIFICATE_HEADER, SUBJECT), ("X-Api-Key", WALLET_KEY))
    assert refused(*shown, certificate_header=CERTIFICATE_HEADER)[:3] == (400, "3100", SEVERAL)


def test_a_certificate_header_that_is_not_configured_is_not_believed() -> None:
    assert refused((CERTIFICATE_HEADER, SUBJECT)) == NOTHING_SHOWN


def test_a_certificate_written_into_a_subject_is_not_read() -> None:
    inside = "CN=" + PEM.replace("\n", " ").replace("=", "\\=").replace("+", "\\+")
    assert not any(FINGERPRINT in each for each in certificate_identities(inside))
    assert certificate_identities(f"CN={FINGERPRINT}") == (f"subject:CN={FINGERPRINT}", f"cn:{FINGERPRINT}")


def test_a_subject_is_known_in_any_of_its_spellings() -> None:
    assert certificate_identities("emailAddress=a@b.example,CN=x") == certificate_identities(
        "1.2.840.113549.1.9.1=a@b.example,CN=x"
    )
    assert certificate_identities(r"CN=Caf\C3\A9") == certificate_identities("CN=Café")


@given(st.one_of(st.text(), st.text().map(lambda text: f"-----BEGIN CERTIFICATE-----{text}"), st.text('CN=,+\\#"; 1')))
def test_whatever_a_gateway_passes_on_is_read_or_not_and_never_an_accident(text: str) -> None:
    for identity in certificate_identities(text):
        assert identity.startswith(("sha256:", "subject:", "cn:", "dns:", "uri:", "email:", "ip:"))


def test_what_the_gateway_says_is_taken_out_of_the_request() -> None:
    headers = without(Headers([("Date", "today"), (CERTIFICATE_HEADER, PEM.replace("\n", " "))]), "x-ssl-client-cert")
    assert headers.pairs == (("Date", "today"),)


@pytest.mark.parametrize(
    ("trusted", "address", "believed"),
    [
        ("127.0.0.0/8,::1", "127.0.0.1", True),
        ("127.0.0.0/8,::1", "::1", True),
        ("127.0.0.0/8,::1", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8,::1", "10.0.0.7", False),
        ("127.0.0.0/8,::1", "", False),
        ("10.0.0.7", "10.0.0.7", True),
        (" 10.0.0.7 , 10.1.0.0/16", "10.1.2.3", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("fd00::/8", "fd00::1%eth0", True),
        ("", "127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("shown", [(CERTIFICATE_HEADER, SUBJECT), ("x-client-id", BANK)])
def test_what_a_gateway_says_is_believed_from_listed_addresses_and_of_others_struck_out(
    shown: tuple[str, str], trusted: str, address: str, believed: bool
) -> None:
    settings = {"certificate_header": CERTIFICATE_HEADER, "trust_client_id": True, "trusted_proxies": trusted}
    peer = Peer(address)
    if believed:
        assert who(shown, peer=peer, **settings) == BANK  # type: ignore[arg-type]
    else:
        assert refused(shown, peer=peer, **settings) == NOTHING_SHOWN
    # Another credential counts whoever passes it on, and nobody can spoil it with a header that is struck out.
    other = (CERTIFICATE_HEADER, "CN=stranger")
    if not believed:
        assert who(other, bearer(BANK_TOKEN), peer=peer, **settings) == BANK  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["gateway.example", "10.0.0.0/33", "10.0.0.1/8"])
def test_proxies_that_are_no_addresses_are_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(OperatorError, match=r"participants_api\.trusted_proxies must hold addresses and networks"):
        who(bearer(BANK_TOKEN), trusted_proxies=wrong)


# --- the certificate of a connection ----------------------------------------------------------------------------------


def connected(certificate: x509.Certificate, address: str = "10.0.0.7") -> Peer:
    return Peer(address, certificate.public_bytes(Encoding.DER))


def valid_certificate(until_s: int = NOW_MS // 1000 + 1, **names: x509.GeneralName) -> x509.Certificate:
    """One that is valid at the time of these tests, with these alternative names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string(SUBJECT)
    start, end = (datetime.datetime.fromtimestamp(each, datetime.UTC) for each in (1_690_000_000, until_s))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names.values())), critical=False)
    return builder.sign(key, SHA256())


@pytest.mark.parametrize(
    "registered",
    [f"subject:{SUBJECT}", "cn:bank-a", "dns:bank-a.example", "uri:spiffe://scheme/bank-a", "ip:10.0.0.7"],
)
def test_the_certificate_of_a_connection_says_who_calls_by_any_of_its_names(registered: str) -> None:
    certificate = valid_certificate(
        dns=x509.DNSName("Bank-A.example"),
        uri=x509.UniformResourceIdentifier("spiffe://scheme/bank-a"),
        ip=x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
    )
    assert who(peer=connected(certificate), registered=[registered]) == BANK
    assert registered_identity(registered.removeprefix("subject:")) == registered


def test_a_connections_certificate_is_looked_at_once() -> None:
    peer = connected(valid_certificate())
    assert who(peer=peer) == BANK
    looked_at = peer.known_as
    assert looked_at is not None
    assert who(peer=peer) == BANK
    assert peer.known_as is looked_at


def test_a_certificate_that_ends_while_its_connection_lasts_lets_nobody_in_any_more() -> None:
    assert refused(peer=connected(valid_certificate(NOW_MS // 1000))) == NOT_VALID


def test_a_gateways_own_certificate_is_not_the_callers() -> None:
    peer = connected(valid_certificate(), "127.0.0.1")
    assert refused(peer=peer, certificate_header=CERTIFICATE_HEADER) == NOTHING_SHOWN
    assert who(bearer(BANK_TOKEN), peer=peer, certificate_header=CERTIFICATE_HEADER) == BANK


def test_a_bound_token_holds_with_the_certificate_that_the_gateway_passes_on(tmp_path: Path) -> None:
    server = AuthorizationServer()
    keys = tmp_path / "keys.json"
    keys.write_bytes(server.key_set())
    oauth = OAuth(issuers=ISSUER, keys=str(keys), participants_audience=PARTICIPANTS)
    settings = ParticipantsApi(client_certificate_header=CERTIFICATE_HEADER)
    found = directory(f"subject:{SUBJECT}")
    identify = identifier(settings, lambda: found, lambda: NOW_MS, AccessTokens(oauth, lambda: NOW_MS))
    certificate = valid_certificate()
    digest = base64.urlsafe_b64encode(certificate.fingerprint(SHA256())).rstrip(b"=").decode()
    now_s = NOW_MS // 1000
    token = server.token(client_id=BANK, iat=now_s, exp=now_s + 60, cnf={"x5t#S256": digest})

    def who_shows(*shown: tuple[str, str]) -> str | None:
        return identify(Headers([("FSPIOP-Source", BANK), bearer(token), *shown]), Peer("127.0.0.1"))

    assert who_shows((CERTIFICATE_HEADER, quote(certificate.public_bytes(Encoding.PEM)))) == BANK
    for other in ((CERTIFICATE_HEADER, quote(valid_certificate().public_bytes(Encoding.PEM))), ("X", "")):
        with pytest.raises(FspiopError) as caught:
            who_shows(other)
        assert caught.value.status == 401


def test_a_subject_with_two_common_names_is_known_by_neither() -> None:
    assert certificate_identities("CN=bank-a,CN=wallet-b") == ("subject:CN=bank-a,CN=wallet-b",)


@pytest.mark.parametrize("text", ["cn:bank-a", "dns:bank-a.example", "ip:10.0.0.7"])
def test_a_name_to_register_a_certificate_by_is_nothing_that_a_gateway_may_say(text: str) -> None:
    shown = (CERTIFICATE_HEADER, text)
    assert refused(shown, registered=[text], certificate_header=CERTIFICATE_HEADER) == NOT_VALID


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_a_registered_proxy_may_name_itself_as_one() -> None:
    assert who(bearer(PROXY_TOKEN), ("FSPIOP-Proxy", PROXY)) == PROXY


def test_a_participant_that_is_no_proxy_speaks_for_nobody_else() -> None:
    assert refused(("X-Api-Key", WALLET_KEY), ("FSPIOP-Proxy", WALLET))[:3] == (
        400,
        "3100",
        "Generic validation error - Invalid fspiop-proxy header",
    )


# --- where nobody is asked --------------------------------------------------------------------------------------------


def test_where_the_source_header_is_believed_nothing_need_be_shown() -> None:
    assert who(authentication="source-header") is None
    assert who(bearer("whatever"), authentication="source-header") is None


def test_where_the_source_header_is_believed_a_client_id_must_still_agree_with_it() -> None:
    assert who(("x-client-id", WALLET), authentication="source-header") == WALLET


@pytest.mark.parametrize(
    ("settings", "required"),
    [
        (ParticipantsApi(), False),
        (ParticipantsApi(host="localhost"), False),
        (ParticipantsApi(host="::1"), False),
        (ParticipantsApi(host="127.8.9.1"), False),
        (ParticipantsApi(host="0.0.0.0"), True),
        (ParticipantsApi(host="::"), True),
        (ParticipantsApi(host="192.168.1.7"), True),
        (ParticipantsApi(host="hub.example"), True),
        (ParticipantsApi(trust_client_id=True), True),
        (ParticipantsApi(client_certificate_header="x-ssl-client-s-dn"), True),
        (ParticipantsApi(authentication="required"), True),
        (ParticipantsApi(authentication="source-header", host="0.0.0.0", trust_client_id=True), False),
    ],
)
def test_auto_asks_nobody_on_loopback_without_a_gateway_and_everybody_elsewhere(
    settings: ParticipantsApi, required: bool
) -> None:
    assert settings.requires_authentication is required


# --- what operators learn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ((), "it shows nothing"),
        ((bearer("vuka_nobodys"),), "it shows an unknown or revoked TOKEN"),
        ((bearer(EXPIRED_TOKEN),), "it shows credential 7, which has expired"),
        ((bearer(OPERATOR_TOKEN),), "it shows credential 6, an operator's"),
        ((bearer(BANK_KEY),), "it shows credential 3 as a TOKEN, which it is not"),
        ((bearer("of-another"),), "it shows an Authorization that is none of the hub's"),
        ((bearer(BANK_TOKEN), ("X-Api-Key", WALLET_KEY)), "it shows to be bank-a, wallet-b"),
        ((bearer(BANK_TOKEN), ("FSPIOP-Proxy", BANK)), "bank-a is no proxy"),
    ],
)
def test_the_log_says_why_a_caller_was_refused_and_tells_no_secret(
    shown: tuple[tuple[str, str], ...], reason: str
) -> None:
    with capture_logs() as lines:
        refused(*shown)
    assert lines == [{"event": "a caller is refused", "log_level": "info", "source": BANK, "reason": reason}]
    assert not any(value.rpartition(" ")[2] in str(lines) for _, value in shown if "vuka_" in value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CN=stranger", "a certificate of nobody, subject:CN=stranger"),
        ("/CN=bank-a", "a certificate of nobody, which can't be read: '/CN=bank-a'"),
    ],
)
def test_the_log_says_which_certificate_was_nobodys(text: str, words: str) -> None:
    with capture_logs() as lines:
        refused((CERTIFICATE_HEADER, text), certificate_header=CERTIFICATE_HEADER)
    assert lines[0]["reason"] == f"it shows {words}"
