"""What may be kept as evidence: secrets, by their names, paths and shapes, become keyed hashes.

Law: what cannot be searched for secrets is not kept, only its length and keyed digest. Equal values
have equal hashes under one key, wherever they stood, so evidence still compares. Comparison itself
never sees a mask: it is done before.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from msgspec import structs

from rules.difference import Difference
from rules.pointer import Pattern
from rules.shapes import FINDERS, HINT, MARK, Finder, Shape, masked

DEFAULT_HEADERS: frozenset[str] = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"),
        *("x-access-token", "x-amz-security-token", "x-auth-token", "x-csrf-token"),
        *("x-session-token", "x-vault-token", "x-xsrf-token"),
    }
)
"""Headers that carry credentials or sessions."""

DEFAULT_FIELDS: frozenset[str] = frozenset(
    {
        *("password", "passwd", "pwd", "passphrase", "current_password", "new_password"),
        *("secret", "client_secret", "clientsecret", "client_assertion", "code_verifier"),
        *("token", "access_token", "accesstoken", "refresh_token", "refreshtoken"),
        *("id_token", "idtoken", "auth_token", "authtoken", "csrf_token", "session_token"),
        *("csrf", "xsrf", "csrfmiddlewaretoken", "saml_response"),
        *("api_key", "apikey", "api-key", "x-api-key", "private_key", "privatekey"),
        *("encryption_key", "signing_key"),
        *("access_key", "passcode", "security_code", "bearer", "jwt"),
        *("credential", "credentials", "authorization", "sessionid", "session_id"),
        *("otp", "pin", "cvv", "cvc", "card_number", "cardnumber", "ssn"),
        *("signature", "sig", "x-amz-signature", "x-amz-security-token", "x-goog-signature"),
    }
)
"""JSON keys, form and query names, cookies that carry credentials, sessions or card data."""

DEPTH_MAX = 4
"""So many texts within texts (JSON in a form value in a link ...) are opened; deeper ones are hidden."""

HASH_BYTES = 8
"""64 bits: among a million different values, two look equal with a chance of 3 in 10^8."""

ECHO_MIN, ECHO_MAX, ECHOES_MAX = 8, 4096, 100
"""Characters of a hidden value that is hidden wherever it stands again, and how many there may be: a
shorter one is a word or a number that stands elsewhere by chance."""

NAME_MAX = 256
"""Characters of a name that is shown."""

Path = tuple[str, ...]

_MASK = re.compile(MARK + "[a-p]{16}")
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # no number to any shape
_STRUCTURED = re.compile(rf"(?<!{MARK[:-1]}):|[=%<{{\[]")
_USER = re.compile(r"(?<=://)[^/?#\s\"<>]+(?=@)")
_QUERY = re.compile(r"(?<=[?&#])[^=&?#\s\"<>]{1,100}=[^&#\s\"<>]*")
_ASSIGNED = re.compile(r"[\"']?\s{0,16}[:=]\s{0,16}[\"']?(?=[^\s\"'])")
_NAME_BACKWARDS = re.compile(r"[\w.\]\[-]{1,100}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CARD_MIN, _CARD_END = 10**11, 10**19
_quoted = partial(quote, encoding="utf-8", errors="surrogatepass")  # JSON may hold lone surrogates
_quoted_plus = partial(quote_plus, encoding="utf-8", errors="surrogatepass")
NOT_SEARCHED = (ValueError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What to hide, and the secret `key`: by names of `headers` and of `fields` in any case, by `paths`
    into parsed bodies, by `shapes` and `custom` finders in any text.

    A field is hidden where the words of one of `fields` are words of its name: "password" hides
    "user[password]", "DBPassword", "NEW_PASSWORD2" and "passwordHash", but not "passwords".
    """

    headers: frozenset[str] = DEFAULT_HEADERS
    fields: frozenset[str] = DEFAULT_FIELDS
    paths: tuple[Pattern, ...] = ()
    shapes: frozenset[Shape] = frozenset(Shape)
    custom: tuple[Finder, ...] = ()
    key: bytes = field(repr=False)
    names: re.Pattern[str] = field(init=False, repr=False)
    """Finds the name of a field in a text in lower case."""
    finders: tuple[Finder, ...] = field(init=False, repr=False)
    """The finders of the shapes."""

    def __post_init__(self) -> None:
        key = self.key if len(self.key) <= blake2b.MAX_KEY_SIZE else blake2b(self.key).digest()
        fields = sorted(name.lower() for name in self.fields)
        derived: Mapping[str, object] = {
            "headers": frozenset(name.lower() for name in self.headers),
            "fields": frozenset(fields),
            "names": _names(fields),
            "finders": tuple(find for shape, find in FINDERS.items() if shape in self.shapes),
            "key": key,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def _names(fields: list[str]) -> re.Pattern[str]:
    """Any of these names, as whole words, with any sign or none between its words, and digits around."""
    words = (re.findall(r"[^\W_]+", name) or [name] for name in fields)
    names = "|".join(r"[\W_]?".join(map(re.escape, each)) for each in words)
    return re.compile(rf"(?<![^\W\d_])(?:{names})(?![^\W\d_])" if names else r"(?!)")


def redact_paths(
    differences: tuple[Difference, ...], redaction: Redaction
) -> tuple[Difference, ...]:
    """Hide secrets in paths only: enough, and cheap, where only paths are counted."""
    masker = Masker(redaction)
    return tuple(
        structs.replace(each, path=masker.place(each.path)[0], primary="", secondary="")
        for each in differences
    )


class Masker:
    """One redaction at work, over all that belongs to one piece of evidence. `depth` counts the texts
    that a text was found in. `echoes` are secrets that were hidden: they may stand elsewhere, too.
    `values` are all that were hidden, short ones too.
    `left`: so many more characters of a document are wanted; what lies behind them becomes null.
    """

    def __init__(self, redaction: Redaction) -> None:
        self.redaction = redaction
        self.known: dict[str, bool] = {}
        self.shown: dict[str, str] = {}
        self.echoes: dict[str, str] = {}
        self.values: set[str] = set()
        self.left = math.inf

    def hidden(self, text: str) -> str:
        """The mask of a text; nothing, and a mask, stay."""
        if not text or _MASK.fullmatch(text):
            return text
        mask = self.mask(text)
        self.values.add(text)
        if ECHO_MIN <= len(text) <= ECHO_MAX and len(self.echoes) < ECHOES_MAX:
            self.echoes[text] = mask
        return mask

    def mask(self, text: str) -> str:
        return MARK + self.hash(text.encode("utf-8", "surrogatepass"))

    def ways(self) -> list[tuple[str, str]]:
        """How hidden values may stand elsewhere, quoted or percent-encoded, longest first, and their masks."""
        found = {
            way: mask
            for value, mask in self.echoes.items()
            for way in (value, json.dumps(value)[1:-1], _quoted(value, ""), _quoted_plus(value))
        }
        return sorted(found.items(), key=lambda pair: -len(pair[0]))

    def hash(self, value: bytes) -> str:
        found = blake2b(value, key=self.redaction.key, digest_size=HASH_BYTES).hexdigest()
        return found.translate(_LETTERS)

    def concealed(self, value: object) -> str:
        """Hide a parsed value: a text as the same text would be elsewhere, others as their JSON."""
        text = plain_text(value)
        return self.mask(text) if value is None or isinstance(value, bool) else self.hidden(text)

    def measured(self, body: bytes) -> bytes:
        return f"<{len(body)} bytes, digest {self.hash(body)}>".encode()

    def sensitive(self, name: str) -> bool:
        found = self.known.get(name)
        if found is None:
            found = name.lower() in self.redaction.headers or self.mentions(name)
            self.known[name] = found
        return found

    def key(self, name: str) -> str:
        """A name as it is shown: it may be a secret itself, and a very long one is no name."""
        found = self.shown.get(name)
        if found is None:
            found = self.text(name) if len(name) <= NAME_MAX else self.hidden(name)
            self.shown[name] = found
        return found

    def place(self, where: Path) -> tuple[Path, bool]:
        """A path of a difference as it is shown, and whether the values there are hidden: with a name or a path
        all below it is, names too.
        """
        inside = where[1:] if where[:1] == ("body",) else where
        above = len(where) - len(inside) - 1
        shown, hide = [self.key(step) for step in where[:1]], self.named(())
        for at, step in enumerate(where):
            if at:
                shown.append(self.hidden(step) if hide else self.key(step))
            hide = hide or self.sensitive(step) or self.named(inside[: at - above])
        return tuple(shown), hide

    def mentions(self, text: str) -> bool:
        """Whether a sensitive name stands in a text, as words of their own."""
        names, lowered = self.redaction.names, text.lower()
        if names.search(lowered):
            return True
        if _CAMEL.search(text) is None:
            return False
        return names.search(_CAMEL.sub("_", text).lower()) is not None

    def named(self, path: Path | None) -> bool:
        """Whether a path into a document is one of those to hide."""
        return path is not None and any(each.matches(path) for each in self.redaction.paths)

    # texts

    def text(self, text: str, depth: int = 0) -> str:
        """Redact a text that may hold anything: JSON, links, name=value, percent-encoding, secrets."""
        if _STRUCTURED.search(text):
            if depth >= DEPTH_MAX:
                return self.hidden(text)
            document = self.nested(text, depth)
            if document is not None:
                return document
            text = self.structured(text, depth)
        return self.scan(text)

    def scan(self, text: str) -> str:
        """Hide what has the shape of a secret."""
        if self.redaction.custom:
            text = masked(text, self.redaction.custom, self.hidden)
        if HINT.search(text):
            text = masked(text, self.redaction.finders, self.hidden)
        return text

    def nested(self, text: str, depth: int) -> str | None:
        """Redact a text that is JSON itself; None if it is not. A harmless one stays as it is written."""
        stripped = text.strip()
        if stripped[:1] not in ("{", "[") or stripped[-1:] not in ("}", "]"):
            return None
        repeated = []
        left, self.left = self.left, math.inf

        def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
            found = dict(pairs)
            if len(found) != len(pairs):
                repeated.append(found)
            return found

        try:
            document = json.loads(text, object_pairs_hook=members)
            shown = self.walk(document, None, depth + 1)
            return text if shown == document and not repeated else written(shown)
        except NOT_SEARCHED:
            return None
        finally:
            self.left = left

    def structured(self, text: str, depth: int) -> str:
        """Redact links, what is percent-encoded, and name=value."""
        text = self.links(text, depth)
        if "%" in text:
            decoded = unquote(text)
            shown = decoded if decoded == text else self.text(decoded, depth + 1)
            if shown != decoded:
                return _quoted(shown, "/:;,?&=#@ ")
        return self.assigned(text)

    def links(self, text: str, depth: int) -> str:
        """Hide users and sensitive query values of links."""
        if "://" in text:
            text = _USER.sub(lambda found: self.hidden(found[0]), text)
        if "=" in text:
            text = _QUERY.sub(lambda found: self.pair(found[0], None, depth), text)
        return text

    def assigned(self, text: str) -> str:
        """Hide all that follows the first sensitive name with a colon or an equals sign; markup whole."""
        if not self.mentions(text):
            return text
        if "<" in text and ">" in text:
            return self.hidden(text)
        for found in _ASSIGNED.finditer(text):
            at = found.start()
            before = _NAME_BACKWARDS.match(text[max(at - 100, 0) : at][::-1])
            if before is None or not self.sensitive(before[0][::-1]):
                continue
            if not _MASK.match(text, found.end()):
                return text[: found.end()] + self.hidden(text[found.end() :])
        return text

    def form(self, text: str, path: Path | None = None, depth: int = 0) -> str:
        """Redact name=value pairs joined by "&"; harmless pairs stay byte for byte."""
        return "&".join(self.pair(pair, path, depth) for pair in text.split("&"))

    def pair(self, pair: str, path: Path | None, depth: int) -> str:
        name, equals, value = pair.partition("=")
        known = unquote_plus(name)
        if self.sensitive(known) or (path is not None and self.named((*path, known))):
            return f"{self.encoded(name, depth)}{equals}{self.hidden(unquote_plus(value))}"
        return f"{self.encoded(name, depth)}{equals}{self.encoded(value, depth)}"

    def encoded(self, value: str, depth: int) -> str:
        decoded = unquote_plus(value)
        shown = self.text(decoded, depth + 1)
        return value if shown == decoded else _quoted_plus(shown, ":/")

    # documents

    def json(self, text: str, path: Path | None, depth: int) -> str:
        """Redact and write anew. Raises what the parser does."""
        return written(self.member(json.loads(text), path, depth))

    def walk(self, value: object, path: Path | None, depth: int) -> object:
        """Redact a parsed document; `path` leads to it, None where no path matters."""
        if self.left < 0:
            return None
        if isinstance(value, str):
            shown_text = self.text(value, depth)
            self.left -= len(shown_text)
            return shown_text
        if isinstance(value, dict):
            shown = {}
            told = value.get("name", value.get("key"))  # {"name": ..., "value": ...}
            for name, each in value.items():
                if self.left < 0:
                    break
                hide = self.sensitive(name)
                if name == "value" and isinstance(told, str):
                    hide = hide or self.sensitive(told)
                below = None if path is None else (*path, name)
                self.left -= len(name)
                shown[self.key(name)] = (
                    self.concealed(each) if hide else self.member(each, below, depth)
                )
            return shown
        if isinstance(value, list):
            if path is None:
                return [self.walk(each, None, depth) for each in value]
            return [self.member(each, (*path, str(at)), depth) for at, each in enumerate(value)]
        self.left -= 1
        return self.number(value)

    def member(self, value: object, path: Path | None, depth: int) -> object:
        return self.concealed(value) if self.named(path) else self.walk(value, path, depth)

    def number(self, value: object) -> object:
        """A number as long as a card's may be one."""
        if (
            isinstance(value, int | float)
            and _CARD_MIN <= value < _CARD_END
            and value == int(value)
        ):
            text = str(int(value))
            shown = self.scan(text)
            return value if shown == text else shown
        return value


def plain_text(value: object) -> str:
    """A text as it is, others as their JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def written(value: object) -> str:
    """A document as JSON; lone surrogates, which no file takes, as their escapes."""
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()
