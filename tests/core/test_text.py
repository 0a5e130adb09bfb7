import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.errors import UserError
from scalelab.core.text import SHOWN, check_arguments, is_text, shown


@given(some.text(some.characters(), max_size=200))
def test_what_is_shown_is_short_and_can_be_printed(text: str) -> None:
    found = shown(text)
    found.encode()
    assert found.isprintable()
    assert len(found) <= 10 * SHOWN + 3


def test_stray_bytes_are_shown_as_such() -> None:
    assert shown("caf\udce9\n\x1b[0m") == r"caf\xe9\n\x1b[0m"
    assert shown("\ud800") == r"\ud800"
    assert shown("a" * 100) == "a" * SHOWN + "..."


def test_arguments_that_are_no_text_are_refused() -> None:
    check_arguments(["run", "spec.yaml", "größe"])
    assert not is_text("caf\udce9")
    with pytest.raises(UserError, match=r"argument 2, `caf\\xe9`, is not UTF-8"):
        check_arguments(["run", "caf\udce9"])
