"""Why a backup cannot be used."""


class BackupRefusedError(Exception):
    """One line naming the backup, or the part of it, and what is wrong with it."""
