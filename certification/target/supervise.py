"""Runs one program and ends its whole process group when the starter goes away, however it went.

Started as a script, in a session of its own, with a pipe from the starter as standard input: the
pipe's end is the one signal that also a killed starter still gives. Imports nothing of the project,
so that it starts at once.

    python -I -S supervise.py GRACE_S PROGRAM [ARGUMENT ...]
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the program to its end and return its exit code."""
    grace_s = float(sys.argv[1])
    # The group's SIGTERM below reaches this process too and must not end it before the others.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        program = subprocess.Popen(
            sys.argv[2:],
            stdin=subprocess.DEVNULL,
            preexec_fn=_default_signals,  # noqa: PLW1509
        )
    except OSError as error:
        sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\n")
        return 127
    threading.Thread(target=_end_with_starter, args=(program, grace_s), daemon=True).start()
    code = program.wait()
    return code if code >= 0 else 128 - code


def _default_signals() -> None:
    # Ignored signals are inherited over exec; no thread exists yet in this process.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end_with_starter(program: "subprocess.Popen[bytes]", grace_s: float) -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    try:
        program.wait(grace_s)
    finally:
        # Workers that outlive their parent are in the group too; so is this process.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
