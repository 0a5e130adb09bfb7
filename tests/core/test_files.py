"""Files are replaced as a whole or not at all."""

from pathlib import Path

import pytest

from scalelab.core.files import replacing


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    with replacing(path) as part:
        part.write_text("old")
        assert not path.exists()

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("n")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert path.read_text() == "old"
    with replacing(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
