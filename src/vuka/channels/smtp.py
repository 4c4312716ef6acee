"""The channel ``smtp``: e-mails to whoever has the endpoint of a kind's e-mail, by one mail server.

The endpoints are the reference's (hub reference §4.10), one for each kind, with one address or several between commas.
The connection is encrypted unless the configuration says otherwise, and the server's certificate is checked. Each mail
has a Message-ID that is the delivery's, so that a repeat can be told, and says that a program wrote it (RFC 3834).
"""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final

import msgspec

from vuka.channels.secrets import secret
from vuka.config import Config
from vuka.errors import OperatorError
from vuka.plugins import NOTIFICATION_KINDS, Channel, DeliveryError, Notification, hookimpl

ENDPOINTS: Final = {kind: f"{kind}_EMAIL" for kind in NOTIFICATION_KINDS}
"""The type of the endpoint that holds the addresses, by kind."""


class Server(msgspec.Struct, frozen=True):
    """A mail server, and how to talk to it."""

    host: str
    port: int
    security: str
    """``starttls``, ``tls`` or ``none``."""
    context: ssl.SSLContext | None
    user: str
    password: str
    sender: str
    """The From header; the mail's envelope has its address."""
    timeout_ms: int

    def __repr__(self) -> str:
        """Without the password."""
        return f"Server({self.host}:{self.port})"

    @property
    def domain(self) -> str:
        """Whose mails these are."""
        return parseaddr(self.sender)[1].rpartition("@")[2]


@hookimpl
def vuka_notification_channels(config: Config) -> Sequence[Channel]:
    """E-mail, where there is a server for it. Raises `OperatorError` where it is not configured as it must be."""
    if not config.notifications.smtp_host:
        return []
    server = configured(config)

    def deliver(notification: Notification, address: str) -> None:
        _send(server, notification, address)

    return [Channel(name="smtp", deliver=deliver, endpoints=ENDPOINTS)]


def configured(config: Config) -> Server:
    """The mail server as it is configured. Raises `OperatorError`."""
    settings = config.notifications
    sender = parseaddr(settings.smtp_from)[1]
    if not sender.isascii() or not all(sender.partition("@")):
        raise OperatorError(
            "notifications.smtp_from must be an address, e.g. hub@scheme.example, where smtp_host is set."
        )
    password = secret("smtp_password", settings.smtp_password, settings.smtp_password_file)
    if bool(settings.smtp_user) != bool(password):
        raise OperatorError(
            "notifications.smtp_user and notifications.smtp_password go together: set both, or neither."
        )
    is_clear = settings.smtp_security == "none"
    if is_clear and password and not _is_this_machine(settings.smtp_host):
        raise OperatorError(
            "notifications.smtp_security = none would send the password in the clear. Use starttls or tls."
        )
    try:
        context = None if is_clear else ssl.create_default_context(cafile=settings.smtp_ca_file or None)
    except OSError as error:
        raise OperatorError(
            f"notifications.smtp_ca_file names {settings.smtp_ca_file}, which can't be read: {error.strerror or error}."
        ) from None
    return Server(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        context=context,
        user=settings.smtp_user,
        password=password,
        sender=settings.smtp_from,
        timeout_ms=settings.timeout_ms,
    )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def message_of(server: Server, notification: Notification, address: str) -> EmailMessage:
    """The mail: the same at each attempt. Raises `ValueError` where an address breaks a header."""
    message = EmailMessage()
    message["From"] = server.sender
    message["To"] = address
    message["Subject"] = notification.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(notification.created_ms // 1000, UTC))
    message["Message-ID"] = f"<{notification.id}.vuka@{server.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Vuka-Notification"] = notification.id
    message.set_content(notification.text)
    return message


def _send(server: Server, notification: Notification, address: str) -> None:
    """Raises `DeliveryError`."""
    recipients = [each.strip() for each in address.split(",")]
    try:
        message = message_of(server, notification, address)
    except ValueError:
        raise DeliveryError("the address is no e-mail address", is_final=True) from None
    try:
        connection = _connect(server)
        try:
            refused = connection.send_message(message, parseaddr(server.sender)[1], recipients)
            # The server has the mail: whatever it says to this, another attempt would be a second mail.
            with contextlib.suppress(OSError):
                connection.putcmd("QUIT")
        finally:
            connection.close()
    except smtplib.SMTPRecipientsRefused as error:
        raise _refused(error.recipients, len(recipients)) from None
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError("the mail server refuses the login", _said(error)) from None
    except smtplib.SMTPSenderRefused as error:
        raise DeliveryError("the mail server refuses the sender", _said(error)) from None
    except smtplib.SMTPDataError as error:
        raise DeliveryError("the mail server refuses the mail", _said(error), is_final=error.smtp_code >= 500) from None
    except smtplib.SMTPResponseException as error:
        raise DeliveryError("the mail server is not ready", _said(error)) from None
    except smtplib.SMTPNotSupportedError as error:
        raise DeliveryError("the mail server does not support what is configured", str(error)) from None
    except ssl.SSLError as error:
        raise DeliveryError("the mail server can't be trusted", error.reason or "") from None
    except OSError as error:  # smtplib's other errors are OSErrors too
        # Where the server says nothing, smtplib tells that it has hung up.
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            raise DeliveryError("the mail server timed out") from None
        raise DeliveryError("the mail server can't be reached", error.strerror or type(error).__name__) from None
    if refused:
        raise _refused(refused, len(recipients))


def _connect(server: Server) -> smtplib.SMTP:
    """A connection, encrypted and logged in as configured. Raises what `smtplib` raises."""
    seconds = server.timeout_ms / 1000
    # Its own name is not looked up: where names are slow that alone would take longer than a mail may.
    if server.security == "tls":
        connection: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, server.domain, timeout=seconds, context=server.context
        )
    else:
        connection = smtplib.SMTP(server.host, server.port, server.domain, timeout=seconds)
    try:
        if server.security == "starttls":
            connection.starttls(context=server.context)
        if server.user:
            connection.login(server.user, server.password)
    except BaseException:
        connection.close()
        raise
    return connection


def _refused(recipients: Mapping[str, tuple[int, bytes]], count: int) -> DeliveryError:
    """Of several addresses some may have the mail: another attempt would send it to them again, so that it is final."""
    said = "; ".join(f"{code} {text.decode('utf-8', 'replace')}" for code, text in recipients.values())
    taken = count - len(recipients)
    is_final = taken > 0 or all(code >= 500 for code, _ in recipients.values())
    reason = f"{taken} of {count} addresses were accepted" if taken else "the address was refused"
    return DeliveryError(reason, said, is_final=is_final)


def _said(error: smtplib.SMTPResponseException) -> str:
    text = error.smtp_error
    return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
