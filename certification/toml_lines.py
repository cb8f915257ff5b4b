"""Find the line of every key of a TOML text that `tomllib` has already accepted."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the root, e.g. `("levels", 0, "gates", 2)`."""

_PART = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)"|'([^']*)')[ \t]*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""+|' + r"'''.*?'''+|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)
_SKIP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the 1-based line of every table, key and list element; inline tables by their key.

    The text is valid TOML: this is a scanner for positions, not a second parser.
    """
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.lines


class _Scanner:
    """A position in the text, the table it is in, and the lines found so far."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._table: KeyPath = ()
        self._counts: dict[KeyPath, int] = {}
        self._line = 1
        self._line_at = 0

    def scan(self) -> None:
        text = self._text
        while True:
            self._at = _end(_SKIP, text, self._at)
            if self._at >= len(text):
                return
            if text.startswith("[", self._at):
                self._header()
            else:
                self._pair()

    def _header(self) -> None:
        line = self._line_here()
        is_list = self._text.startswith("[[", self._at)
        self._at += 2 if is_list else 1
        parts = self._key()
        self._at += 2 if is_list else 1
        path = (*self._resolve(parts[:-1]), parts[-1])
        if is_list:
            index = self._counts.get(path, -1) + 1
            self._counts[path] = index
            self.lines.setdefault(path, line)
            path = (*path, index)
        elif path in self._counts:
            path = (*path, self._counts[path])
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        self._table = path

    def _pair(self) -> None:
        line = self._line_here()
        path: KeyPath = self._table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        """Step over one value, noting the line of each element of an outermost list."""
        text, depth, index, fresh = self._text, 0, 0, False
        while self._at < len(text):
            char = text[self._at]
            if depth == 0 and char in "\n#":
                return
            if char in " \t\r\n":
                self._at += 1
                continue
            if char == "#":
                self._at = _end(_SKIP, text, self._at)
                continue
            if fresh and char != "]":
                self.lines[(*path, index)] = self._line_here()
                fresh = False
            string = _STRING.match(text, self._at)
            self._at = string.end() if string else self._at + 1
            if string is None and char in "[{":
                depth += 1
                fresh = depth == 1 and char == "["
            elif string is None and char in "]}":
                depth -= 1
            elif string is None and char == "," and depth == 1:
                index, fresh = index + 1, True

    def _key(self) -> list[str]:
        parts: list[str] = []
        while match := _PART.match(self._text, self._at):
            parts.append(next(group for group in match.groups() if group is not None))
            self._at = match.end()
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return parts

    def _resolve(self, parts: list[str]) -> KeyPath:
        """Enter the last element of every list of tables on the way."""
        path: KeyPath = ()
        for part in parts:
            path = (*path, part)
            if path in self._counts:
                path = (*path, self._counts[path])
        return path

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        return self._line


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()
