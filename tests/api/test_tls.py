"""TLS of the hub's listeners: files that will not do are named at the start, and what is served is served encrypted."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.certificates import Authority, private_pem

from vuka.api.tls import check_trusted, listener_context
from vuka.config import Config, Courier, Listener, Oracles
from vuka.errors import OperatorError
from vuka.tls import is_of_before

SECTION = "participants_api"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _listener(certificate: Path | str, key: Path | str) -> Listener:
    return Listener(tls_certificate_file=str(certificate), tls_key_file=str(key))


def test_without_files_a_listener_speaks_plain_http() -> None:
    assert listener_context(Listener(), SECTION) is None


def test_a_certificate_and_its_key_make_a_context_of_tls_1_2_or_later(authority: Authority) -> None:
    context = listener_context(_listener(*authority.issue("hub")), SECTION)
    assert context is not None
    assert context.current.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_without_a_key_is_refused_and_a_key_without_a_certificate(authority: Authority) -> None:
    certificate, key = authority.issue("hub")
    with pytest.raises(OperatorError, match=r"participants_api\.tls_certificate_file needs .*tls_key_file"):
        listener_context(_listener(certificate, ""), SECTION)
    with pytest.raises(OperatorError, match=r"participants_api\.tls_key_file needs .*tls_certificate_file"):
        listener_context(_listener("", key), SECTION)


def test_a_missing_file_is_named_with_its_key(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("hub")
    with pytest.raises(OperatorError, match=r"none\.pem can't be read: No such file.*tls_certificate_file"):
        listener_context(_listener(tmp_path / "none.pem", key), SECTION)
    with pytest.raises(OperatorError, match=r"none\.key can't be read: No such file.*tls_key_file"):
        listener_context(_listener(certificate, tmp_path / "none.key"), SECTION)
    with pytest.raises(OperatorError, match="Is a directory"):
        listener_context(_listener(tmp_path, key), SECTION)


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.issue("hub")
    _, key = authority.issue("other")
    with pytest.raises(OperatorError, match=r"other\.key is not the key of the certificate in .*hub\.pem"):
        listener_context(_listener(certificate, key), SECTION)


def test_what_is_no_pem_or_has_a_password_is_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("hub")
    noise = tmp_path / "noise.pem"
    noise.write_text("no certificate")
    with pytest.raises(OperatorError, match=r"can't be used for TLS"):
        listener_context(_listener(noise, key), SECTION)
    locked = tmp_path / "locked.key"
    locked.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    with pytest.raises(OperatorError, match=r"without a password"):
        listener_context(_listener(certificate, locked), SECTION)


@pytest.mark.parametrize("section", ["courier", "oracles"])
def test_a_file_of_authorities_must_hold_some(authority: Authority, tmp_path: Path, section: str) -> None:
    def config(file: Path) -> Config:
        if section == "courier":
            return Config(courier=Courier(ca_file=str(file)))
        return Config(oracles=Oracles(ca_file=str(file)))

    check_trusted(config(authority.file))
    with pytest.raises(OperatorError, match=rf"No such file.*{section}\.ca_file"):
        check_trusted(config(tmp_path / "none.pem"))
    noise = tmp_path / "noise.pem"
    noise.write_text("no certificate")
    with pytest.raises(OperatorError, match=rf"no certificate in PEM.*{section}\.ca_file"):
        check_trusted(config(noise))


def test_certificates_that_are_required_need_an_authority(authority: Authority) -> None:
    certificate, key = (str(each) for each in authority.issue("hub"))
    listener = Listener(tls_certificate_file=certificate, tls_key_file=key, client_certificate="required")
    with pytest.raises(OperatorError, match=r"client_certificate = required needs participants_api\.client_ca_file"):
        listener_context(listener, SECTION)


def test_an_authority_of_clients_needs_tls_and_a_list_needs_an_authority(authority: Authority) -> None:
    with pytest.raises(OperatorError, match=r"client_ca_file needs participants_api\.tls_certificate_file"):
        listener_context(Listener(client_ca_file=str(authority.file)), SECTION)
    certificate, key = (str(each) for each in authority.issue("hub"))
    listener = Listener(tls_certificate_file=certificate, tls_key_file=key, client_crl_file=str(authority.revoke()))
    with pytest.raises(OperatorError, match=r"client_crl_file needs participants_api\.client_ca_file"):
        listener_context(listener, SECTION)


@pytest.mark.parametrize("content", ["", "no list", "the authority"])
def test_a_file_of_lists_must_hold_some(authority: Authority, tmp_path: Path, content: str) -> None:
    file = tmp_path / "lists.crl"
    file.write_text(authority.file.read_text() if content == "the authority" else content)
    certificate, key = (str(each) for each in authority.issue("hub"))
    listener = Listener(
        tls_certificate_file=certificate,
        tls_key_file=key,
        client_ca_file=str(authority.file),
        client_crl_file=str(file),
    )
    with pytest.raises(OperatorError, match=r"holds no revocation list in PEM. See participants_api\.client_crl_file"):
        listener_context(listener, SECTION)


def test_a_handshake_that_began_before_a_change_is_of_before(authority: Authority) -> None:
    context = listener_context(_listener(*authority.issue("hub")), SECTION)
    assert context is not None
    begun = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)

    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return begun if name == "ssl_object" else default

    assert not is_of_before(context, Transport())
    authority.issue("hub")
    assert context.refresh()
    assert is_of_before(context, Transport())


def test_a_file_that_goes_while_it_is_looked_at_leaves_those_of_before_in_force(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = listener_context(_listener(*authority.issue("hub")), SECTION)
    assert context is not None
    before = context.current
    authority.issue("hub")

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    with monkeypatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_cert_chain", gone)
        assert not context.refresh()
    assert context.current is before
    authority.issue("hub")
    assert context.refresh()
