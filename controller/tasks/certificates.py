"""Reads the certificates and keys that an experiment names, and sees that they load before any agent has to."""

import re
import ssl
from pathlib import Path
from tempfile import NamedTemporaryFile

from controller.errors import BadInputError
from controller.experiment.http_parts import TlsSettings
from protocol.messages import Tls

MAX_BYTES = 1024 * 1024  # the system's own list of authorities is a fifth of that
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----.+?-----END (?:[A-Z]+ )?PRIVATE KEY-----", re.DOTALL)
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)


def read_tls(settings: TlsSettings) -> Tls:
    """The settings with their files read; `BadInputError` with the path of one that is not what it should be."""
    ca = b"" if settings.ca is None else _certificates(settings.ca, "tls.ca")
    if settings.ca is not None:
        _load_ca(ca, settings.ca)
    cert = key = b""
    if settings.cert is not None and settings.key is not None:
        cert = _certificates(settings.cert, "tls.cert")
        key = _key(settings.key)
        _load_pair(cert, key, settings)
    return Tls(
        ca=ca,
        cert=cert,
        key=key,
        is_verified=not settings.insecure,
        min_version=settings.min_version or "",
        server_name=settings.server_name or "",
        alpn=settings.alpn or (),
    )


def _certificates(path: str, what: str) -> bytes:
    """The certificates alone: what stands between them may be no ASCII, which `ssl` would stumble over."""
    found: list[bytes] = _CERTIFICATE.findall(_read(path, what))
    if not found:
        raise BadInputError(f"{what}: expected a certificate in PEM, -----BEGIN CERTIFICATE-----, got none in {path}")
    return b"\n".join(found) + b"\n"


def _key(path: str) -> bytes:
    read = _read(path, "tls.key")
    if _ENCRYPTED.search(read):
        raise BadInputError(f"tls.key: expected a key without a password, got an encrypted one in {path}")
    found = _KEY.search(read)
    if found is None:
        raise BadInputError(f"tls.key: expected a key in PEM, -----BEGIN PRIVATE KEY-----, got none in {path}")
    return found[0] + b"\n"


def _read(path: str, what: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{what}: {path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    if len(found) > MAX_BYTES:
        raise BadInputError(f"{what}: {path} is larger than {MAX_BYTES >> 20} MiB")
    return found


def _load_ca(ca: bytes, path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise BadInputError(f"tls.ca: {path} has a certificate that can't be read: {error}") from error


def _load_pair(cert: bytes, key: bytes, settings: TlsSettings) -> None:
    """Together, from a file of ours: theirs may be a pipe, which can be read only once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with NamedTemporaryFile(prefix="seatrial-", suffix=".pem") as file:  # nobody else may read it
        file.write(cert + key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            if getattr(error, "reason", "") in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
                problem = f"{settings.key} is not the key of the certificate in {settings.cert}: expected its own"
                raise BadInputError(f"tls.key: {problem}") from error
            raise BadInputError(f"tls.cert: {settings.cert} with {settings.key} can't be loaded: {error}") from error
