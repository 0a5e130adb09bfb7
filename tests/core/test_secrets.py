"""No password passes, and what is no secret stays as it is."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.secrets import masked, masked_all


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
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


PASSWORD = st.text(string.ascii_letters + string.digits + "!$%^*()[]{}_-+=~,.<>|;:@?&", min_size=8)


@given(PASSWORD, st.sampled_from(["postgresql", "postgres", "sftp", "s3", "ftp"]))
def test_no_password_of_a_url_passes(password: str, scheme: str) -> None:
    url = f"{scheme}://ann:{password}@host/place"
    argv = masked_all({"argv": ["scalelab", "run", "--store", url], "n": 1})
    assert argv == {
        "argv": ["scalelab", "run", "--store", f"{scheme}://ann:***@host/place"],
        "n": 1,
    }
