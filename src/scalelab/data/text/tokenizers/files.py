"""Files of tokenizers, on this machine or at a URL."""

from pathlib import Path

from scalelab.core.errors import UserError, reason
from scalelab.core.locations import access, file_system, is_url


def read(path: str, cure: str = "check the path of its file") -> bytes:
    """The content of a file or a URL (s3://, gs://, https://...).

    Raises UserError where it can't be read.
    """
    try:
        if not is_url(path):
            if Path(path).exists() and not Path(path).is_file():
                raise OSError("not a file")  # a device may have no end
            return Path(path).read_bytes()
        files, inner = file_system(path)
        with access(path), files.open(inner, "rb") as file:
            return file.read()
    except (OSError, ImportError) as error:
        fault = reason(error) if isinstance(error, OSError) else error
        raise UserError(f"the tokenizer can't be read ({fault})", cure=cure, where=path) from error


def malformed(path: str, fault: object, made_by: str) -> UserError:
    """The error of a file that holds no tokenizer."""
    return UserError(
        f"this is no tokenizer that can be used ({fault})",
        cure=f"take {made_by}, unabridged",
        where=path,
    )
