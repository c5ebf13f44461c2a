"""What may be kept as evidence: values of sensitive headers and fields become keyed hashes.

Law: what cannot be searched for sensitive names is not kept, only its length and keyed digest.
Equal values have equal hashes under one key, wherever they stood, so evidence still compares.
"""

import json
import re
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from urllib.parse import unquote_plus

from rules.diff import Difference
from rules.message import Fields

DEFAULT_HEADERS: frozenset[str] = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "x-access-token",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-session-token",
        "x-vault-token",
        "x-xsrf-token",
    }
)
"""Headers that carry credentials or sessions."""

DEFAULT_FIELDS: frozenset[str] = frozenset(
    {
        *("password", "passwd", "pwd", "passphrase", "current_password", "new_password"),
        *("secret", "client_secret", "clientsecret", "client_assertion"),
        *("token", "access_token", "accesstoken", "refresh_token", "refreshtoken"),
        *("id_token", "idtoken", "auth_token", "authtoken", "csrf_token", "session_token"),
        *("api_key", "apikey", "api-key", "x-api-key", "private_key", "privatekey"),
        *("credential", "credentials", "authorization", "sessionid", "session_id"),
        *("otp", "pin", "cvv", "cvc", "card_number", "cardnumber", "ssn"),
        *("signature", "sig", "x-amz-signature", "x-amz-security-token", "x-goog-signature"),
    }
)
"""JSON keys, form names and query names that carry credentials, sessions or card data."""

_USER = re.compile(r"(?<=://)[^/?#@\s\"]+(?=@)")
_QUERY = re.compile(r"(?<=[?&])[^=&?#\s\"]{1,100}=[^&#\s\"\\]*(?:\\.[^&#\s\"\\]*)*")
_PARTS = re.compile(r"[\[\].]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What to hide: names of `headers` and of `fields` in any case, and the secret `key`.

    A nested name such as "user[password]" or "user.password" is hidden for any of its parts.
    """

    headers: frozenset[str] = DEFAULT_HEADERS
    fields: frozenset[str] = DEFAULT_FIELDS
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", frozenset(name.lower() for name in self.headers))
        object.__setattr__(self, "fields", frozenset(name.lower() for name in self.fields))


def redact_fields(fields: Fields, redaction: Redaction) -> Fields:
    """Hide the values of sensitive headers, and sensitive parts of links in any other header."""
    return tuple((name, _header(name, value, redaction)) for name, value in fields)


def redact_target(target: str, redaction: Redaction) -> str:
    """Hide sensitive query values, and a user in an absolute target; the rest stays as it is."""
    path, mark, query = target.partition("?")
    return _links(path, redaction) + mark + _form(query, redaction)


def redact_body(body: bytes, content_type: str, redaction: Redaction) -> bytes:
    """Hide sensitive fields of a JSON or form body; JSON is written anew.

    Other text is kept only where no sensitive name is mentioned in it. Binary, damaged JSON and all
    the rest become b"<N bytes, digest ...>". Never raises.
    """
    if not body:
        return body
    media = content_type.partition(";")[0].strip().lower()
    try:
        text = body.decode()
        if _is_json(media) or text.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
            return _json(text.removeprefix("\ufeff"), redaction).encode()
        if media == _FORM:
            return _form(text, redaction).encode()
        if not _CONTROL.search(text) and not _mentions(text, redaction):
            return body
    except (ValueError, RecursionError):
        pass  # no UTF-8, no JSON, or nested too deeply: not to be searched, so not to be kept
    return f"<{len(body)} bytes, digest {_hash(body, redaction)}>".encode()


def redact_differences(
    differences: tuple[Difference, ...], redaction: Redaction
) -> tuple[Difference, ...]:
    """Hide both values of a difference at or below a sensitive name, and such names in values."""
    return tuple(_difference(difference, redaction) for difference in differences)


def _difference(difference: Difference, redaction: Redaction) -> Difference:
    hide = any(
        step.lower() in redaction.headers or _sensitive(step, redaction) for step in difference.path
    )
    primary = _text(difference.primary, redaction, hide=hide)
    secondary = _text(difference.secondary, redaction, hide=hide)
    return replace(difference, primary=primary, secondary=secondary)


def _text(text: str, redaction: Redaction, *, hide: bool) -> str:
    """Redact one value of a difference: short JSON, perhaps cut off, or nothing."""
    if not text:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # cut off
        return _hidden(text, redaction) if hide or _mentions(text, redaction) else text
    return _concealed(value, redaction) if hide else _json(text, redaction)


def _header(name: str, value: str, redaction: Redaction) -> str:
    if name.lower() in redaction.headers or _sensitive(name, redaction):
        return _hidden(value, redaction)
    return _links(value, redaction)


def _links(text: str, redaction: Redaction) -> str:
    """Hide users and sensitive query values of links anywhere in a text."""
    text = _USER.sub(lambda found: _hidden(found[0], redaction), text)
    return _QUERY.sub(lambda found: _pair(found[0], redaction), text)


def _form(text: str, redaction: Redaction) -> str:
    """Redact name=value pairs joined by "&"; the other pairs stay byte for byte."""
    return "&".join(_pair(pair, redaction) for pair in text.split("&"))


def _pair(pair: str, redaction: Redaction) -> str:
    name, equals, value = pair.partition("=")
    if equals and _sensitive(unquote_plus(name), redaction):
        return f"{name}={_hidden(unquote_plus(value), redaction)}"
    return pair


def _json(text: str, redaction: Redaction) -> str:
    """Redact while parsing, so that depth is the parser's business. Raises what the parser does."""

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        return {
            name: _concealed(value, redaction) if _sensitive(name, redaction) else value
            for name, value in pairs
        }

    redacted = json.dumps(json.loads(text, object_pairs_hook=members), ensure_ascii=False)
    return _links(redacted.encode("utf-8", "backslashreplace").decode(), redaction)


def _concealed(value: object, redaction: Redaction) -> str:
    """Hide a parsed value: a text as the same text would be elsewhere, others as their JSON."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return _hidden(text, redaction)


def _hidden(text: str, redaction: Redaction) -> str:
    return "redacted:" + _hash(text.encode("utf-8", "surrogatepass"), redaction)


def _hash(value: bytes, redaction: Redaction) -> str:
    key = redaction.key
    if len(key) > blake2b.MAX_KEY_SIZE:
        key = blake2b(key).digest()
    return blake2b(value, key=key, digest_size=6).hexdigest()


def _sensitive(name: str, redaction: Redaction) -> bool:
    lowered = name.strip().lower()
    if lowered in redaction.fields:
        return True
    return any(part in redaction.fields for part in _PARTS.split(lowered) if part != lowered)


def _mentions(text: str, redaction: Redaction) -> bool:
    """Say whether a sensitive name stands in a text, as a word, also percent-encoded."""
    lowered = f"{text}\n{unquote_plus(text)}".lower()
    return any(
        name in lowered and re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", lowered)
        for name in redaction.fields
    )


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")
