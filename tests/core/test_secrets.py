"""No password passes, and what is no secret stays as it is."""

import re
import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scalelab.core.secrets import masked, masked_all, without_masks


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://ann:hunter2@db/lab", "postgresql://ann:***@db/lab"),
        ("postgresql://ann:hun/t@er2@db:5432/lab", "postgresql://ann:***@db:5432/lab"),
        ("postgres://:hunter2@db/lab", "postgres://:***@db/lab"),
        ("--store=postgresql+psycopg://a:b@c/d", "--store=postgresql+psycopg://a:***@c/d"),
        ("sftp://ann:p%40ss@host/runs/model.pt", "sftp://ann:***@host/runs/model.pt"),
        ("sftp://ann:p@ss@host/runs", "sftp://ann:***@host/runs"),
        ("https://ghp_abc@example.org/x.csv", "https://***@example.org/x.csv"),
        (
            "https://example.org/x?X-Amz-Signature=ab12&part=2&sig=zz#k",
            "https://example.org/x?X-Amz-Signature=***&part=2&sig=***#k",
        ),
        (
            "connection to host=db password=hunter2 failed",
            "connection to host=db password=*** failed",
        ),
        (
            "cannot reach `s3://KEY:SECRET@bucket/a` nor `s3://KEY:SECRET@bucket/b`",
            "cannot reach `s3://KEY:***@bucket/a` nor `s3://KEY:***@bucket/b`",
        ),
        ("s3://AKIA:ab/cd@bucket", "s3://AKIA:***@bucket"),
        ("hf://hf_abcdefghij@x ssh://ABCDEFGHIJ0123456789@h", "hf://***@x ssh://***@h"),
        ("//u:p@h", "//u:***@h"),
        ("postgresql://u:pw@h/db?x=a@b", "postgresql://u:***@h/db?x=a@b"),
        ("postgresql://u:it's@h/db", "postgresql://u:***@h/db"),
        ("['s3://a:b@c', 'x@y']", "['s3://a:***@c', 'x@y']"),
        (
            "`https://h/x?pwd=a&pass=b&auth=c#access_token=d`, with",
            "`https://h/x?pwd=***&pass=***&auth=***#access_token=***`, with",
        ),
        ("PGPASSWORD=a HF_TOKEN=b; --token=c", "PGPASSWORD=*** HF_TOKEN=*** --token=***"),
        ("AWS_SECRET_ACCESS_KEY: a/b", "AWS_SECRET_ACCESS_KEY: ***"),
        ("argv=password=hunter2", "argv=password=***"),
        ("Authorization: Bearer ab.cd", "Authorization: Bearer ***"),
        ("{'password': 'a b', 'n': 1}", "{'password': '***', 'n': 1}"),
        (r'{"password":"a\"b","n":1}', '{"password":"***","n":1}'),
        (r'"{\"token\": \"ab\", \"n\": 1}"', r'"{\"token\": \"***\", \"n\": 1}"'),
    ],
)
def test_secrets_are_masked(text: str, wanted: str) -> None:
    assert masked(text) == wanted
    assert masked(wanted) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/trials",
        "sftp://ann@host/runs",
        "https://example.org:8080/a/b@v1?part=2",
        "HuggingFaceFW/fineweb-edu@main",
        "results/scalelab.db",
        "write to ann@example.org",
        "--set optim.lr=3e-3",
        "postgresql://ann@db/lab",
        "memory://a/b",
        "hub:some/tokenizer",
        "tokens: bytes",
        "--set task.tokens=gpt2",
        "tokens=4096",
        "tokenizer: gpt2",
        "tokens_per_second: 12",
        "key=value",
        "task.tokens={kind: huggingface}",
        "token_kinds: 3",
        "bytes_per_token=4.1",
        "https://example.org:8080/a/b@v1",
        "sftp://host:2222/runs/a@v1",
        '{"tokens": {"kind": "bytes"}, "budget": {"tokens": 1000}}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


PASSWORD = st.text(string.ascii_letters + string.digits + "!$%^*()[]{}_-+=~,.<>|;:@?&/", min_size=8)


@given(PASSWORD, st.sampled_from(["postgresql", "postgres", "sftp", "s3", "ftp"]))
def test_no_password_of_a_url_passes(password: str, scheme: str) -> None:
    # Of these nobody can say where the password ends.
    assume(not re.search(r"@.*\?[\w.%-]+=|^\d+/", password))
    url = f"{scheme}://ann:{password}@host/place"
    argv = masked_all({"argv": ["scalelab", "run", "--store", url], "n": 1})
    assert argv == {
        "argv": ["scalelab", "run", "--store", f"{scheme}://ann:***@host/place"],
        "n": 1,
    }


def test_a_value_is_masked_by_its_key() -> None:
    value = {"password": "a b", "HF_TOKEN": "c", "tokens": "gpt2", "in": [{"token": "d"}]}
    wanted = {"password": "***", "HF_TOKEN": "***", "tokens": "gpt2", "in": [{"token": "***"}]}
    assert masked_all(value) == wanted


PIECES = [
    "://",
    "//",
    "u",
    ":",
    "@",
    "/",
    "?",
    "=",
    "&",
    "'",
    '"',
    "\\",
    " ",
    "\n",
    "***",
    "https:",
]
WORDS = ["password", "token", "TOKEN", "_", "-", "Bearer ", "22/", "Authorization", "Basic "]


@given(st.lists(st.sampled_from(PIECES + WORDS), max_size=20))
def test_masking_twice_is_masking_once(pieces: list[str]) -> None:
    once = masked("".join(pieces))
    assert masked(once) == once


@pytest.mark.parametrize("text", ["a", "a-", "://", ":@", "//a:22/@", "?token", "password='", "\\"])
def test_masking_takes_linear_time(text: str) -> None:
    began = time.process_time()
    masked(text * (200_000 // len(text)))
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("kept", "meant"),
    [
        ("sftp://ann:***@host/a", "sftp://ann@host/a"),
        ("s3://***:***@bucket/a", "s3://bucket/a"),
        ("https://***@host/a", "https://host/a"),
        ("https://host/a?x=1&token=***", "https://host/a?x=1"),
        ("postgresql://ann:***@db/lab?password=***", "postgresql://ann@db/lab"),
        ("sftp://ann:pw@host/a", "sftp://ann:pw@host/a"),
        ("a/***/b", "a/***/b"),
    ],
)
def test_a_masked_place_is_one_without_credentials(kept: str, meant: str) -> None:
    assert without_masks(kept) == meant
