"""E-mail, through real mail servers on this machine: what is sent, how, and what each refusal means."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.channels.mail import PASSWORD, USER, certificate, login, mail_server

from vuka.channels import smtp
from vuka.channels.words import compose
from vuka.config import Config, Notifications
from vuka.errors import OperatorError
from vuka.plugins import ADJUSTMENT, NOTIFICATION_KINDS, DeliveryError, Notification

SENDER = "The hub <hub@scheme.example>"


def settings(port: int, **fields: Any) -> Config:
    values: dict[str, Any] = {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
        "smtp_from": SENDER,
        "timeout_ms": 5_000,
    }
    return Config(notifications=Notifications(**(values | fields)))


def notification(**fields: Any) -> Notification:
    made = compose(
        delivery_id="7-1",
        kind=ADJUSTMENT,
        participant="greenbank",
        recipient="greenbank",
        currency="USD",
        created_ms=1_700_000_000_123,
        data={"cause": "ADJUSTED", "limit": "1000", "position": "1.5", "available": "998.5"},
        scheme="Café scheme",
    )
    return msgspec.structs.replace(made, **fields)


def send(config: Config, address: str = "ops@greenbank.example", **fields: Any) -> None:
    (channel,) = smtp.vuka_notification_channels(config)
    channel.deliver(notification(**fields), address)


def refusal(config: Config, address: str = "ops@greenbank.example", **fields: Any) -> tuple[str, bool]:
    """Why a mail could not be delivered, and whether another attempt is of no use."""
    with pytest.raises(DeliveryError) as error:
        send(config, address, **fields)
    return str(error.value), error.value.is_final


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_a_mail_is_plain_text_from_the_hub_to_the_address_with_the_id_of_its_delivery() -> None:
    with mail_server() as mailbox:
        send(settings(mailbox.port))
    ((envelope, mail),) = mailbox.got
    assert (envelope.mail_from, envelope.rcpt_tos) == ("hub@scheme.example", ["ops@greenbank.example"])
    assert (mail["From"], mail["To"]) == (SENDER, "ops@greenbank.example")
    assert mail["Subject"] == "[Café scheme] Net debit cap of greenbank: 1,000.00 USD"
    assert (mail["Message-ID"], mail["Vuka-Notification"]) == ("<7-1.vuka@scheme.example>", "7-1")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(mail["Date"]).isoformat() == "2023-11-14T22:13:20+00:00"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == notification().text.splitlines()


def test_an_attempt_again_is_the_same_mail() -> None:
    with mail_server() as mailbox:
        send(settings(mailbox.port))
        send(settings(mailbox.port))
    first, second = (envelope.content for envelope, _ in mailbox.got)
    assert first == second


def test_an_endpoint_may_hold_several_addresses() -> None:
    with mail_server() as mailbox:
        send(settings(mailbox.port), "ops@greenbank.example, treasury@greenbank.example")
    assert mailbox.got[0][0].rcpt_tos == ["ops@greenbank.example", "treasury@greenbank.example"]


def test_each_kind_has_an_endpoint_of_its_own_by_the_references_name() -> None:
    (channel,) = smtp.vuka_notification_channels(settings(25))
    assert channel.endpoints == {
        "NET_DEBIT_CAP_THRESHOLD_BREACH": "NET_DEBIT_CAP_THRESHOLD_BREACH_EMAIL",
        "NET_DEBIT_CAP_ADJUSTMENT": "NET_DEBIT_CAP_ADJUSTMENT_EMAIL",
        "SETTLEMENT_TRANSFER_POSITION_CHANGE": "SETTLEMENT_TRANSFER_POSITION_CHANGE_EMAIL",
    }
    assert set(channel.endpoints) == set(NOTIFICATION_KINDS)


# --- encrypted and logged in ------------------------------------------------------------------------------------------


def test_a_mail_is_encrypted_by_starttls_and_the_hub_logs_in(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    with mail_server(tls_context=context, authenticator=login, auth_required=True, require_starttls=True) as mailbox:
        config = settings(
            mailbox.port,
            smtp_security="starttls",
            smtp_ca_file=str(ca_file),
            smtp_user=USER,
            smtp_password=PASSWORD,
        )
        send(config)
        assert (mailbox.encrypted, mailbox.authenticated) == ([True], [True])


def test_a_mail_is_encrypted_from_the_first_byte(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    with mail_server(ssl_context=context) as mailbox:
        send(settings(mailbox.port, smtp_security="tls", smtp_ca_file=str(ca_file)))
        assert len(mailbox.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(tmp_path: Path, security: str) -> None:
    context, _ = certificate(tmp_path)
    options: dict[str, Any] = {"tls_context": context} if security == "starttls" else {"ssl_context": context}
    with mail_server(**options) as mailbox:
        config = settings(mailbox.port, smtp_security=security, smtp_user=USER, smtp_password=PASSWORD)
        assert refusal(config) == ("the mail server can't be trusted: CERTIFICATE_VERIFY_FAILED", False)
        assert mailbox.got == []


def test_a_server_without_starttls_gets_neither_mail_nor_password() -> None:
    with mail_server(authenticator=login, auth_require_tls=False) as mailbox:
        config = settings(mailbox.port, smtp_security="starttls", smtp_user=USER, smtp_password=PASSWORD)
        reason, is_final = refusal(config)
        assert reason.startswith("the mail server does not support what is configured: STARTTLS")
        assert (is_final, mailbox.got) == (False, [])


def test_a_wrong_password_is_told_without_the_password(tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path)
    with mail_server(tls_context=context, authenticator=login) as mailbox:
        config = settings(
            mailbox.port,
            smtp_security="starttls",
            smtp_ca_file=str(ca_file),
            smtp_user=USER,
            smtp_password="wrong horse",
        )
        reason, is_final = refusal(config)
    assert reason.startswith("the mail server refuses the login: 535")
    assert ("wrong horse" in reason, is_final) == (False, False)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_an_address_that_is_refused_for_good_is_not_tried_again() -> None:
    with mail_server() as mailbox:
        mailbox.recipient = lambda _address: "550 no such mailbox"
        assert refusal(settings(mailbox.port)) == ("the address was refused: 550 no such mailbox", True)
        mailbox.recipient = lambda _address: "450 mailbox busy"
        assert refusal(settings(mailbox.port)) == ("the address was refused: 450 mailbox busy", False)


def test_of_several_addresses_those_that_have_the_mail_do_not_get_it_again() -> None:
    with mail_server() as mailbox:
        mailbox.recipient = lambda address: "450 busy" if address.startswith("b") else "250 OK"
        reason, is_final = refusal(settings(mailbox.port), "a@greenbank.example,b@greenbank.example")
        assert (reason, is_final) == ("1 of 2 addresses were accepted: 450 busy", True)
        assert len(mailbox.mails) == 1


@pytest.mark.parametrize(("answer", "is_final"), [("554 looks like spam", True), ("452 disk full", False)])
def test_a_mail_that_is_refused_says_why(answer: str, is_final: bool) -> None:
    with mail_server() as mailbox:
        mailbox.answer = lambda: answer
        assert refusal(settings(mailbox.port)) == (f"the mail server refuses the mail: {answer}", is_final)


def test_what_is_no_address_is_refused_before_anybody_is_asked() -> None:
    config = settings(1)
    assert refusal(config, "ops@greenbank.example\r\nBcc: all@example") == ("the address is no e-mail address", True)
    assert refusal(config, subject="two\nlines") == ("the address is no e-mail address", True)


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert refusal(settings(port)) == ("the mail server can't be reached: Connection refused", False)


@contextmanager
def raw_server(*replies: bytes) -> Iterator[int]:
    """A server that says these one after the other, each when it has read something, and then nothing; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def serve() -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        held.append(connection)
        for number, reply in enumerate(replies):
            if number:
                connection.recv(65_536)
            connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for connection in held:
            connection.close()
        thread.join(5)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with raw_server() as port:
        assert refusal(settings(port, timeout_ms=200)) == ("the mail server timed out", False)


def test_a_server_that_talks_nonsense_is_not_ready() -> None:
    with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        reason, is_final = refusal(settings(port))
        assert reason.startswith("the mail server")
        assert not is_final


def test_a_server_that_is_busy_is_tried_again() -> None:
    with raw_server(b"421 try later\r\n") as port:
        assert refusal(settings(port)) == ("the mail server is not ready: 421 try later", False)


def test_a_server_that_has_taken_the_mail_and_then_hangs_has_it() -> None:
    with raw_server(
        b"220 hi\r\n", b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 taken\r\n"
    ) as port:
        send(settings(port, timeout_ms=5_000))


# --- configuration ----------------------------------------------------------------------------------------------------


def test_without_a_server_there_is_no_channel() -> None:
    assert smtp.vuka_notification_channels(Config()) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"smtp_from": ""}, "smtp_from must be an address"),
        ({"smtp_from": "the hub"}, "smtp_from must be an address"),
        ({"smtp_from": "hub@"}, "smtp_from must be an address"),
        ({"smtp_user": "hub"}, "go together"),
        ({"smtp_password": "secret"}, "go together"),
        ({"smtp_host": "mail.example", "smtp_user": "hub", "smtp_password": "secret"}, "in the clear"),
        ({"smtp_security": "tls", "smtp_ca_file": "/no/such/file"}, "smtp_ca_file names /no/such/file"),
        ({"smtp_user": "hub", "smtp_password_file": "/no/such/file"}, "smtp_password_file names /no/such/file"),
    ],
)
def test_a_configuration_that_will_not_do_is_refused_by_its_key(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence) as refused:
        smtp.vuka_notification_channels(settings(25, **fields))
    assert "secret" not in str(refused.value)


def test_a_password_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    assert smtp.configured(settings(25, smtp_user=USER, smtp_password_file=str(file))).password == PASSWORD
    with pytest.raises(OperatorError, match="both set"):
        smtp.configured(settings(25, smtp_user=USER, smtp_password_file=str(file), smtp_password="another"))
    file.write_text("\n")
    with pytest.raises(OperatorError, match="which is empty"):
        smtp.configured(settings(25, smtp_user=USER, smtp_password_file=str(file)))


def test_a_server_and_its_configuration_are_shown_without_the_password() -> None:
    config = settings(25, smtp_user=USER, smtp_password=PASSWORD)
    assert PASSWORD not in repr(config)
    assert PASSWORD not in repr(smtp.configured(config))


async def test_a_mail_is_sent_from_a_thread_while_the_loop_goes_on() -> None:
    with mail_server() as mailbox:
        await asyncio.to_thread(send, settings(mailbox.port))
    assert len(mailbox.mails) == 1
