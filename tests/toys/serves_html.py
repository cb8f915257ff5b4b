"""Serves a web page whatever is asked, as a misconfigured proxy or a login portal does."""

from __future__ import annotations

from typing import Any

from tests.toys._wire import Toy, serve

PAGE = "<!doctype html><title>Welcome</title><h1>It works!</h1><script>alert(1)</script>\n"


class ServesHtml(Toy):
    """Knows one page."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return the page."""
        return 200, PAGE


if __name__ == "__main__":
    serve(ServesHtml)
