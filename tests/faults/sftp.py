"""A real SFTP server on this machine, which asks for a password."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko

USER = "ann"


@contextmanager
def served(root: Path, password: str) -> Iterator[int]:
    """Serves a folder as `/`; gives the port."""
    key = paramiko.RSAKey.generate(2048)

    class Server(paramiko.ServerInterface):
        def get_allowed_auths(self, username: str) -> str:
            return "password"

        def check_auth_password(self, username: str, password_: str) -> int:
            right = (username, password_) == (USER, password)
            return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

        def check_channel_request(self, kind: str, chanid: int) -> int:
            return paramiko.OPEN_SUCCEEDED

    class Files(paramiko.SFTPServerInterface):
        def _do(self, action: Any) -> Any:
            try:
                return action()
            except OSError as error:
                return paramiko.SFTPServer.convert_errno(error.errno or 0)

        def list_folder(self, path: str) -> Any:
            return self._do(
                lambda: [
                    paramiko.SFTPAttributes.from_stat(inner.stat(), inner.name)
                    for inner in at(path).iterdir()
                ]
            )

        def stat(self, path: str) -> Any:
            return self._do(lambda: paramiko.SFTPAttributes.from_stat(at(path).stat()))

        lstat = stat

        def open(self, path: str, flags: int, attr: Any) -> Any:
            def opened() -> Any:
                mode = "w+b" if flags & os.O_CREAT else "rb"
                handle: Any = paramiko.SFTPHandle(flags)
                handle.readfile = handle.writefile = at(path).open(mode)
                return handle

            return self._do(opened)

        def remove(self, path: str) -> Any:
            return self._do(lambda: at(path).unlink()) or paramiko.SFTP_OK

        def rename(self, oldpath: str, newpath: str) -> Any:
            self._do(lambda: at(oldpath).rename(at(newpath)))
            return paramiko.SFTP_OK

        posix_rename = rename

        def mkdir(self, path: str, attr: Any) -> Any:
            return self._do(lambda: at(path).mkdir()) or paramiko.SFTP_OK

        def chattr(self, path: str, attr: Any) -> Any:
            return paramiko.SFTP_OK

    def at(path: str) -> Path:
        return root / path.lstrip("/")

    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[paramiko.Transport] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                transport = paramiko.Transport(listener.accept()[0])
                transport.add_server_key(key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
                transport.start_server(server=Server(), event=threading.Event())
                transports.append(transport)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for transport in transports:
            transport.close()
