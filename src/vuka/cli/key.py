"""``vuka key``: the keys with which messages are signed and checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from vuka.cli.client import DEFAULT_URL, HubUrl, call
from vuka.cli.output import AsJson, console, fail, print_json, print_table
from vuka.fspiop.jws import ES256, PrivateKey

app = typer.Typer(no_args_is_help=True, help="Signing keys (JWS) of participants and of the hub.")

Name = Annotated[str, typer.Argument(help="The participant.")]


def _path(name: str, rest: str) -> str:
    return f"/participants/{quote(name, safe='')}/{rest}"


@app.command("generate")
def generate(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; the public one goes beside it, .pub.")],
    algorithm: Annotated[str, typer.Option(help="ES256, or RS256: eleven times the work to sign with.")] = ES256,
) -> None:
    """Make a key pair. The private key is for whoever signs, and for nobody else.

    Example: [bold]vuka key generate greenbank.pem[/bold]
    """
    try:
        key = PrivateKey.generate(algorithm.upper())
    except ValueError as error:
        fail(str(error))
    public = file.with_name(file.name + ".pub")
    try:
        # Readable by its owner from the first moment, and never written over another.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(key.to_pem())
        public.write_text(key.public.pem, encoding="ascii")
    except FileExistsError:
        fail(f"There is a file {file} already. Name another: a key is never written over.")
    except OSError as error:
        fail(f"{error.filename} can't be written: {error.strerror}.")
    console.print(f"{file}: the private key ({key.public.algorithm}). {public}: the public one.", highlight=False)


@app.command("add")
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Its public key, or a certificate of it, in PEM.")],
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Register a key: messages signed with it are the participant's.

    Example: [bold]vuka key add greenbank greenbank.pem.pub[/bold]
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} can't be read: {getattr(error, 'strerror', None) or 'it is not text'}.")
    made = call(url, "POST", _path(name, "keys"), {"publicKey": text})
    console.print(f"{name}: {made['algorithm']} key {made['fingerprint']} is registered.", highlight=False)


@app.command("list")
def list_keys(name: Name, url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List a participant's keys, and whether it must sign.

    Example: [bold]vuka key list greenbank[/bold]
    """
    found: list[dict[str, Any]] = call(url, "GET", _path(name, "keys"))
    signatures = call(url, "GET", _path(name, "signatures"))
    if as_json:
        print_json({"keys": found, **signatures})
        return
    rows = [
        (each["fingerprint"], each["algorithm"], "yes" if each["isActive"] else "retired", each["createdBy"])
        for each in found
    ]
    print_table(f"Keys of {name}", ("fingerprint", "algorithm", "active", "registered by"), rows)
    console.print(f"Signatures: {signatures['effective']}.", highlight=False)


@app.command("retire")
def retire(
    name: Name,
    fingerprint: Annotated[str, typer.Argument(help="The key's fingerprint, as `vuka key list` shows it.")],
    url: HubUrl = DEFAULT_URL,
) -> None:
    """Retire a key: what is signed with it is refused from now on.

    Example: [bold]vuka key retire greenbank 3fb1…[/bold]
    """
    call(url, "DELETE", _path(name, f"keys/{quote(fingerprint, safe='')}"))
    console.print(f"{name}: the key is retired.")


def _set(name: str, url: str, signatures: str | None, sentence: str) -> None:
    call(url, "PUT", _path(name, "signatures"), {"signatures": signatures})
    console.print(f"{name} {sentence}", highlight=False)


@app.command("require")
def require(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Have a participant sign, whatever the others do.

    Example: [bold]vuka key require greenbank[/bold]
    """
    _set(name, url, "REQUIRED", "must sign.")


@app.command("off")
def off(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Check no signature of a participant, whatever the others do.

    Example: [bold]vuka key off greenbank[/bold]
    """
    _set(name, url, "OFF", "need not sign, and is not checked.")


@app.command("default")
def default(name: Name, url: HubUrl = DEFAULT_URL) -> None:
    """Treat a participant as all others: by `signatures.verify`.

    Example: [bold]vuka key default greenbank[/bold]
    """
    _set(name, url, None, "signs as the others do.")


@app.command("hub")
def hub(url: HubUrl = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Print the hub's own public key, with which participants check what the hub says.

    Example: [bold]vuka key hub > hub.pem.pub[/bold]
    """
    found = call(url, "GET", "/keys/hub")
    if as_json:
        print_json(found)
        return
    typer.echo(found["publicKey"].strip())
