"""Passwords and tokens in text, masked wherever text is kept or shown.

Places such as `postgresql://user:password@host/lab` are named on command lines, in specs and in the
errors of libraries. What connects to them needs the password; nothing else does.
"""

import re
from typing import Any

MASK = "***"

FORMS = 1
"""Raised when more forms of secrets are masked: then stores are cleaned once more."""

_WORD = re.compile(r"(?:[^\s'\"`]|['\"`](?=[\w@]))+")
"""Text up to whitespace or a closing quote; a password may have a quote in its middle."""

_AUTHORITY = re.compile(r"//([^/@:?#]*)([:@])")
"""`//user:` or `//user@`, of a URL."""

_HTTP_PASSWORD = re.compile(r"[^/?#]*@")
_PORT = re.compile(r"\d{2,5}/")
_QUERY = re.compile(r"\?[\w.%-]+=")

_TOKEN = re.compile(r"(?:hf_|gh[a-z]_|github_pat_|glpat-|sk-)[\w.~%+-]+|[\w.~%+-]{20,}")
"""What is no name of a user."""

_PARAMETER = re.compile(
    r"([?&;#](?=[\w.%-]*?(?:password|passwd|secret|credential|signature|(?:pass|pwd|key)(?![a-z])"
    r"|token(?![a-z]|_[a-z])|(?<![a-z])(?:o?auth|authorization|sig)(?![a-z])))[\w.%-]+=)"
    rf"(?!{re.escape(MASK)})[^&;\s#'\"`]+",
    re.IGNORECASE,
)
"""`?access_token=...` and the like, of a URL."""

_NAME = (
    r"(?<![\w-])(?=(?i:[\w-]*?(?:password|passwd|passphrase|api[_-]?key|access[_-]?key"
    r"|secret(?![a-z])))"
    r"|(?i:-*(?:(?:access|api|auth|bearer|github|gitlab|hf|refresh|session)[_-]?)?token(?![\w-]))"
    r"|[\w-]*?(?<![A-Za-z0-9])TOKEN(?![A-Za-z0-9]))[\w-]+"
)
"""The name of a secret. `tokens` is none, nor is `eos_token`."""

_QUOTED = rf"(?P<quote>\\*['\"])(?!{re.escape(MASK)})(?:(?!(?P=quote))(?:\\.|[^\n]))+"

_SETTING = re.compile(
    rf"(?P<name>{_NAME}[^\S\n]*[=:](?!//)[^\S\n]*)"
    rf"(?:{_QUOTED}|(?!{re.escape(MASK)})[^\s'\"`\\][^\s'\"`]*)"
)
"""`password=...` of a connection string, `HF_TOKEN=...` of an environment."""

_ENTRY = re.compile(
    rf"(?P<name>{_NAME}\\*['\"]\s*[=:]\s*)"
    rf"(?:{_QUOTED}|(?!{re.escape(MASK)})[^\s'\"`\\,{{}}\[\]]+)"
)
"""`"password": "..."`, of JSON or of a Python dict."""

_HEADER = re.compile(
    r"(\bBearer[^\S\n]+|\bAuthorization['\"]?[^\S\n]*[:=][^\S\n]*['\"]?Basic[^\S\n]+)"
    rf"(?!{re.escape(MASK)})[^\s'\"`,]+"
)
"""`Bearer ...`, of an HTTP request."""

_KEY = re.compile(_NAME)


def masked(text: str) -> str:
    """The text with every password and token in it replaced by `***`."""
    if "//" in text:
        if "@" in text:
            text = _WORD.sub(_without_userinfo, text)
        text = _PARAMETER.sub(rf"\1{MASK}", text)
    text = _HEADER.sub(rf"\1{MASK}", text)
    for pattern in (_SETTING, _ENTRY):
        text = pattern.sub(lambda match: f"{match['name']}{match['quote'] or ''}{MASK}", text)
    return text


_MASKED_USER = re.compile(
    rf"(?<=//)(?:{re.escape(MASK)}(?::{re.escape(MASK)})?@|([^/@:?#]+):{re.escape(MASK)}@)"
)
_MASKED_PARAMETER = re.compile(rf"(?<=[?&])[\w.%-]+={re.escape(MASK)}(?:&|$)")


def without_masks(place: str) -> str:
    """A place that was kept without its credentials, as one that names none: what connects to it
    takes them from its own environment.
    """
    if MASK not in place or "//" not in place:
        return place
    user = _MASKED_USER.sub(lambda match: f"{match[1]}@" if match[1] else "", place)
    return _MASKED_PARAMETER.sub("", user).rstrip("?&")


def _without_userinfo(match: re.Match[str]) -> str:
    """A word with the passwords and tokens of its URLs masked. In what is no web address any
    character may be a part of a password: it ends at the last @ that is not in the query.
    """
    word = match[0]
    last, done, parts = word.rfind("@"), 0, list[str]()
    for found in _AUTHORITY.finditer(word):
        start, end, user = found.start(), found.end(), found[1]
        if start < done:
            continue
        if end > last + 1:
            break
        is_http = word[max(0, start - 6) : start].lower().endswith(("http:", "https:"))
        if found[2] == "@":
            if user and (is_http or _TOKEN.fullmatch(user)) and user != MASK:
                parts += [word[done:start], f"//{MASK}@"]
                done = end
            continue
        if is_http:
            password = _HTTP_PASSWORD.match(word, end)
            after = password.end() if password else 0
        elif _PORT.match(word, end):
            after = 0
        else:
            query = _QUERY.search(word, end)
            after = word.rfind("@", end, query.start() if query else len(word)) + 1 or last + 1
        if after:
            shown = MASK if _TOKEN.fullmatch(user) else user
            parts += [word[done:start], f"//{shown}:{MASK}@"]
            done = after
    return "".join([*parts, word[done:]])


def masked_all(value: Any) -> Any:
    """A JSON value with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {
            key: MASK
            if inner and isinstance(inner, str) and _KEY.fullmatch(key)
            else masked_all(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked_all(inner) for inner in value]
    return value
