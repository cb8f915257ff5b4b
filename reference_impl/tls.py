"""The certificate and key that the server is given."""

from pathlib import Path

from .config import Settings, StartRefusedError


def check(settings: Settings) -> None:
    """Refuse a certificate and key that cannot serve, before anything is started."""
    if not (settings.certificate or settings.private_key):
        return
    if not (settings.certificate and settings.private_key):
        raise StartRefusedError("--certificate and --key come together: give both files")

    import ssl

    def no_passphrase() -> str:
        raise StartRefusedError(f"--key {settings.private_key}: has a passphrase; remove it")

    for option, path in (("certificate", settings.certificate), ("key", settings.private_key)):
        if not Path(path).is_file():
            raise StartRefusedError(f"--{option} {path}: there is no such file")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.certificate, settings.private_key, no_passphrase)
    except (ssl.SSLError, OSError) as error:
        raise StartRefusedError(
            f"--certificate {settings.certificate}, --key {settings.private_key}: not a pair of"
            f" PEM files that belong together ({error})"
        ) from error
