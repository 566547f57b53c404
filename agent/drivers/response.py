"""Reads one HTTP/1.1 response whose header block was not seen before. Leaves sockets and clocks to `http1`."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from protocol.messages import ErrorClass
from protocol.series import BODY_KEPT

MAX_BODY = 64 * 1024 * 1024
MAX_HEAD = 256 * 1024  # of headers, of interim responses, of trailers: of anything that brings no body


class Response:
    """One response as httptools reads it, with bounds on what a hostile server can make us keep."""

    def __init__(self, *, is_head: bool, keeps_body: int = BODY_KEPT) -> None:
        self.status = 0
        self.location = ""
        self.body = bytearray()
        self.head_length = 0
        self.bytes_fed = 0
        self.is_complete = False
        self.is_kept = False
        self.is_plain = False  # its length is known from the header block alone
        self._is_head = is_head
        self._keeps_body = keeps_body
        self._has_headers = False
        self._length: int | None = None
        self._is_chunked = False
        self._body_bytes = 0
        self._bodiless = 0
        self._messages = 0
        self._is_surplus = False
        self._parser = HttpResponseParser(self)

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the connection's end tells where the body ends (RFC 9112, 6.3)."""
        return self._has_headers and self._length is None and not self._is_chunked and not self.is_complete

    def feed(self, data: bytes) -> tuple[ErrorClass, str] | None:
        """Read on; what is wrong with the response, if anything is."""
        self.bytes_fed += len(data)
        body_before = self._body_bytes
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            if not self.is_complete:
                return ErrorClass.PROTOCOL, "the server changed the protocol"
            self.is_kept = False
        except HttpParserError as failure:
            if not self.is_complete:
                cause = failure.__context__ if isinstance(failure.__context__, _TooLargeError) else None
                return (ErrorClass.TOO_LARGE, str(cause)) if cause else (ErrorClass.PROTOCOL, str(failure))
            self.is_kept = False  # the response was complete; what came after it is not one
        self._bodiless = self._bodiless + len(data) if self._body_bytes == body_before else 0
        if self._bodiless > MAX_HEAD and not self.is_complete:
            return ErrorClass.PROTOCOL, f"more than {MAX_HEAD >> 10} KiB of headers"
        if self._is_surplus:
            self.is_kept = False
        if self.is_complete and self.is_plain and not self.head_length:
            self.head_length = data.find(b"\r\n\r\n") + 4
            self.is_plain = self.head_length + self._body_bytes == self.bytes_fed  # and nothing behind it
        return None

    def on_message_begin(self) -> None:
        """For httptools."""
        self._messages += 1
        if self.is_complete:
            self._is_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """For httptools."""
        if self.is_complete:
            return
        lowered = name.lower()
        if lowered == b"content-length" and value.strip().isdigit():
            self._length = int(value)
        elif lowered == b"location":
            self.location = value.decode("latin-1")
        elif lowered == b"transfer-encoding":
            self._is_chunked = value.lower().strip().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        """For httptools."""
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:  # an interim response (RFC 9110, 15.2): the real one follows
            self._length = None
            self.location = ""
            return
        self._has_headers = True
        if self._is_head:
            self.is_kept = self._parser.should_keep_alive()
            self.is_complete = True
            return
        if self._length is not None and self._length > MAX_BODY:
            raise _TooLargeError(f"a body of {self._length} bytes: more than {MAX_BODY >> 20} MiB are not read")

    def on_body(self, body: bytes) -> None:
        """For httptools."""
        if self.is_complete:
            return
        self._body_bytes += len(body)
        if len(self.body) < self._keeps_body:
            self.body += body[: self._keeps_body - len(self.body)]
        if self._body_bytes > MAX_BODY:
            raise _TooLargeError(f"a body of more than {MAX_BODY >> 20} MiB")

    def on_message_complete(self) -> None:
        """For httptools."""
        if self.is_complete or 100 <= self.status < 200:
            return
        self.is_kept = self._parser.should_keep_alive()
        self.is_complete = True
        bodiless = self.status in (204, 304)
        self.is_plain = not self._is_chunked and self._messages == 1 and (self._length == self._body_bytes or bodiless)


class _TooLargeError(Exception):
    """Raised through httptools to stop reading a body."""
