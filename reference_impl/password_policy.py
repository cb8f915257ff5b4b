"""The password policy: length, well-known passwords, the user's own name, declared complexity.

Length and a list of what attackers try first do more than character classes (NIST SP 800-63B),
so no class is asked for unless the operator names it.
"""

import itertools
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from .config import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN

NAME_REST_MIN = 8
"""Characters that must remain of a password when the user's name is taken out of it."""
REPEATED_UNIT_MAX = 4
"""A password that repeats so few characters over and over is as short as they are."""

WORDS = (
    "abc",
    "access",
    "account",
    "admin",
    "administrator",
    "changeme",
    "default",
    "dragon",
    "football",
    "hello",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "monkey",
    "pass",
    "passw",
    "password",
    "qwerty",
    "qwertyuiop",
    "root",
    "secret",
    "sunshine",
    "superman",
    "user",
    "welcome",
)
"""Words that alone, repeated, joined or with digits around them, make no password."""
PHRASES = frozenset({"correcthorsebatterystaple", "thequickbrownfox", "tobeornottobe"})
RUNS = (
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn",
)
_LEET = str.maketrans("013457@$!", "oleastasi")

COMPLEXITY: Mapping[str, Callable[[str], bool]] = {
    "lower": lambda password: any(c.islower() for c in password),
    "upper": lambda password: any(c.isupper() for c in password),
    "digit": lambda password: any(c.isdigit() for c in password),
    "symbol": lambda password: any(not c.isalnum() and not c.isspace() for c in password),
}
"""Classes that an operator may ask for: at least one character of each named one."""


def fault(password: str, username: str = "", complexity: Sequence[str] = ()) -> str:
    """Return what is wrong with a password, in one sentence; empty if nothing is."""
    if len(password) < PASSWORD_LENGTH_MIN:
        return f"It needs at least {PASSWORD_LENGTH_MIN} characters."
    if len(password) > PASSWORD_LENGTH_MAX:
        return f"It may have at most {PASSWORD_LENGTH_MAX} characters."
    missing = [name for name in complexity if not COMPLEXITY[name](password)]
    if missing:
        return f"It needs at least one character of each: {', '.join(missing)}."
    if is_known(password):
        return "It is one of the first that an attacker tries."
    if is_from_name(password, username):
        return "It is made from the user name."
    return ""


def plain(text: str) -> str:
    """Return what two spellings of the same text have in common."""
    return unicodedata.normalize("NFKC", text).casefold()


def is_known(password: str) -> bool:
    """Tell whether a password is well known, a run of keys, or a repetition."""
    key = "".join(plain(password).split())
    core = key.strip(string.digits + string.punctuation)
    readings = {_letters(key), _letters(core.translate(_LEET))}
    return (
        _repeats(key)
        or any(_runs(key, run) or _runs(key, run[::-1]) for run in RUNS)
        or not readings.isdisjoint(PHRASES)
        or any(_is_made_of(reading, WORDS) for reading in readings if reading)
    )


def is_from_name(password: str, username: str) -> bool:
    """Tell whether too little remains of a password without the user's name in it."""
    key, name = plain(password), plain(username)
    names = {name, name[::-1], name.partition("@")[0]} - {""}
    return any(
        each in key and len(key.replace(each, "")) < NAME_REST_MIN
        for each in names
        if len(each) >= 3
    )


def _letters(text: str) -> str:
    return "".join(itertools.filterfalse(lambda c: not c.isalpha(), text))


def _repeats(key: str) -> bool:
    units = range(1, REPEATED_UNIT_MAX + 1)
    return any((key[:size] * len(key))[: len(key)] == key for size in units)


def _runs(key: str, run: str) -> bool:
    """Tell whether a password is one piece of a run, perhaps the run over and over."""
    return key in run * (len(key) // len(run) + 2)


def _is_made_of(text: str, words: Sequence[str]) -> bool:
    """Tell whether the text is a row of these words and nothing else, in bounded time."""
    ends = {0}
    for start in range(len(text)):
        if start in ends:
            ends |= {start + len(word) for word in words if text.startswith(word, start)}
    return len(text) in ends
