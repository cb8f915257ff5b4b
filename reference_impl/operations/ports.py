"""The port to listen on: a free one, or a refusal before anything is started."""

import socket

from reference_impl.config import StartRefusedError


def free_port(host: str) -> int:
    """Return a port that nobody listens on at the moment; refuse a host of another machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise StartRefusedError(
                f"host: {host}: {error.strerror}; give an address of this machine"
            ) from error
        return int(probe.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: granian itself would share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartRefusedError(
                f"--port {port} on {host}: {error.strerror}; choose another or 0"
            ) from error
