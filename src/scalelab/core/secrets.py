"""Passwords and tokens in text, masked wherever text is kept or shown.

Places such as `postgresql://user:password@host/lab` are named on command lines, in specs and in the
errors of libraries. What connects to them needs the password; nothing else does.
"""

import re
from typing import Any

MASK = "***"

_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)([^\s/@:]*):([^\s/]*)@", re.IGNORECASE)
"""`scheme://user:password@`; a password that has no slash may have an @ in it."""

_DATABASE = re.compile(r"(\b(?:postgres|postgresql)(?:\+\w+)?://)([^\s/@:]*):(\S*)@", re.IGNORECASE)
"""A database's URL: SQLAlchemy takes any character for a part of the password."""

_TOKEN = re.compile(r"(\bhttps?://)([^\s/@:]+)@", re.IGNORECASE)
"""`https://token@host`, as code hosts take it."""

_PARAMETER = re.compile(
    r"([?&;][\w.%-]*(?:password|passwd|token|secret|key|signature|sig|credential)[\w.%-]*=)"
    r"[^&;\s#'\"]+",
    re.IGNORECASE,
)
"""`?access_token=...` and the like, of a URL."""

_SETTING = re.compile(r"(\bpassword\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s'\"]+)", re.IGNORECASE)
"""`password=...` of a connection string."""


def masked(text: str) -> str:
    """The text with every password and token in it replaced by `***`."""
    if "://" in text:
        text = _DATABASE.sub(rf"\1\2:{MASK}@", text)
        text = _USERINFO.sub(rf"\1\2:{MASK}@", text)
        text = _TOKEN.sub(rf"\1{MASK}@", text)
        text = _PARAMETER.sub(rf"\1{MASK}", text)
    return _SETTING.sub(rf"\1{MASK}", text) if "=" in text else text


def masked_all(value: Any) -> Any:
    """A JSON value with every text in it masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked_all(inner) for inner in value]
    return value
