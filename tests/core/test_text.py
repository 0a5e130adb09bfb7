import pytest

from scalelab.core.errors import UserError
from scalelab.core.text import beginning, check_arguments, is_text


def test_a_long_text_is_cut() -> None:
    assert beginning("a" * 20) == "a" * 20
    assert beginning("a" * 21) == "a" * 20 + "..."


def test_arguments_that_are_no_text_are_refused() -> None:
    check_arguments(["run", "spec.yaml", "größe"])
    assert not is_text("caf\udce9")
    with pytest.raises(UserError, match=r"argument 2, `caf\\xe9`, is not UTF-8"):
        check_arguments(["run", "caf\udce9"])
