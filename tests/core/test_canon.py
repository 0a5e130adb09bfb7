import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.canon import canonical_json, sha256
from scalelab.core.seeds import derive

_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), _plain, max_size=5))
def test_the_order_of_keys_is_not_part_of_the_digest(data: dict[str, object]) -> None:
    assert sha256(data) == sha256(dict(reversed(data.items())))


def test_the_canonical_form_by_hand() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null]}'
    assert sha256({}) == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_what_json_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


def test_streams_are_named_apart_and_stay_where_they_are() -> None:
    assert derive(0, "weights") == 133441691874178746
    assert (
        len({derive(seed, name) for seed in range(50) for name in ("weights", "order", "noise")})
        == 150
    )
    assert derive(3, "a", 1) == derive(3, "a", "1")
