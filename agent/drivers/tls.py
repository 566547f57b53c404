"""TLS contexts from what an assignment says. Certificates and keys come as bytes and are on no disk for longer than it
takes to read them.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from protocol.messages import Tls

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@lru_cache(maxsize=64)
def context_of(tls: Tls, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """How to speak TLS; `ssl.SSLError` or `ValueError` if a certificate or a key can't be used."""
    context = ssl.create_default_context(cadata=tls.ca.decode("ascii") if tls.ca else None)
    if not tls.is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.min_version:
        context.minimum_version = _VERSIONS[tls.min_version]
    if tls.cert:
        with _as_file(tls.cert + b"\n" + tls.key) as path:
            context.load_cert_chain(path)
    protocols = tls.alpn or alpn
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file that only this process can read; OpenSSL takes nothing else."""
    fd, path = tempfile.mkstemp(prefix="seatrial-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        yield path
    finally:
        os.unlink(path)  # noqa: PTH108 what mkstemp gave
