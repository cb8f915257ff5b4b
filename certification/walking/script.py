"""Writes a failing example as one bash script of curl calls that anybody can run again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certification.walking.tale import Failure, Sent, Tale

ID_MEMBERS = frozenset({"id", "transaction_id"})
TOKEN_MEMBERS = frozenset({"access_token", "refresh_token"})
SCRIPT_CHARS_MAX = 60_000

HEAD = r"""#!/usr/bin/env bash
# {title}
# Expected: {expected}
# Observed: {observed}
#
# Needs bash, curl and python3. It writes to the deployment that it is run against.
# Set BASE_URL, and for each identity ({roles}) either NAME_TOKEN or
# NAME_USERNAME and NAME_PASSWORD, NAME in capitals. Exit status: 1 if the failure shows
# again, 0 if everything is as it should be.
set -euo pipefail
: "${{BASE_URL:?set BASE_URL to the base URL of the deployment}}"
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

pick() {{ # JSON-POINTER: print a member of the last answer as JSON, without quotes if it is text
  python3 -c '
import json, sys
value = json.load(open(sys.argv[2]))
for part in sys.argv[1].split("/")[1:]:
    if isinstance(value, list):
        value = value[int(part)] if int(part) < len(value) else None
    else:
        value = value.get(part) if isinstance(value, dict) else None
print(value if isinstance(value, str) else json.dumps(value, sort_keys=True))' "$1" "$WORK/body"
}}
etag() {{ sed -n 's/^[Ee][Tt][Aa][Gg]: *//p' "$WORK/head" | tr -d '\r'; }}
new_key() {{ python3 -c 'import uuid; print(uuid.uuid4().hex)'; }}
failed() {{ echo "STEP $STEP FAILED: $*" >&2; cat "$WORK/body" >&2; exit 1; }}
send() {{ # ROLE METHOD PATH KEY IF-MATCH ("-" for none), the body on standard input; sets STATUS
  local token="${{1^^}}_TOKEN"
  {{
    [ -z "${{!token:-}}" ] || echo "header = \"Authorization: Bearer ${{!token}}\""
    [ "$4" = - ] || echo "header = \"Idempotency-Key: $4\""
    [ "$5" = - ] || echo "header = \"If-Match: ${{5//\"/\\\"}}\""
  }} > "$WORK/config"
  cat > "$WORK/request"
  local data=()
  if [ -s "$WORK/request" ]; then
    data=(--header 'Content-Type: application/json' --data-binary "@$WORK/request")
  fi
  STATUS=$(curl --silent --show-error --globoff --config "$WORK/config" --request "$2" \
    ${{data[@]+"${{data[@]}}"}} --dump-header "$WORK/head" --output "$WORK/body" \
    --write-out '%{{http_code}}' "$BASE_URL$3")
}}
expect() {{ # STATUS...
  case " $* " in *" $STATUS "*) ;; *) failed "expected $*, got $STATUS" ;; esac
}}
same() {{ # JSON-POINTER VALUE
  local found
  found=$(pick "$1")
  [ "$found" = "$2" ] || failed "$1: expected $2, got $found"
}}
login() {{ # ROLE
  local token="${{1^^}}_TOKEN" user="${{1^^}}_USERNAME" password="${{1^^}}_PASSWORD"
  [ -z "${{!token:-}}" ] || return 0
  : "${{!user:?set it, or $token}}" "${{!password:?set it, or $token}}"
  send anonymous POST /v1/auth/login - - < <(python3 -c '
import json, sys
print(json.dumps(dict(zip(("username", "password"), sys.stdin.read().split("\n")))))
' <<< "${{!user}}"$'\n'"${{!password}}")
  STEP=0 && expect 200
  printf -v "$token" '%s' "$(pick /access_token)"
}}

STEP=0
"""


def names_of(tale: Tale) -> dict[str, tuple[str, int, str]]:
    """Return a variable for each id that an answer brought: id -> (name, request, pointer)."""
    found: dict[str, tuple[str, int, str]] = {}
    counts: Counter[str] = Counter()
    for number, sent in enumerate(tale.sent):
        if sent.reply is None or sent.reply.status >= 400:
            continue
        for pointer, value in _ids(sent.reply.body, ""):
            if value in found:
                continue
            kind = _kind(sent, pointer)
            counts[kind] += 1
            found[value] = (f"{kind}_{counts[kind]}", number, pointer)
    return found


def _ids(body: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name in ID_MEMBERS | TOKEN_MEMBERS and isinstance(value, str):
                yield f"{pointer}/{name}", value
            else:
                yield from _ids(value, f"{pointer}/{name}")
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from _ids(value, f"{pointer}/{number}")


def _kind(sent: Sent, pointer: str) -> str:
    member = pointer.rsplit("/", 1)[-1]
    if member in TOKEN_MEMBERS:
        return member
    for area, kind in (("/v1/users", "user"), ("/v1/grants", "grant")):
        if sent.path.startswith(area) and pointer == "/id":
            return kind
    accounts = ("/children/", "/accounts/", "/target/", "/sources/", "/parent/")
    of_account = sent.path.startswith("/v1/accounts") and pointer == "/id"
    return "account" if of_account or pointer.startswith(accounts) else "transaction"


def script(failure: Failure) -> str:
    """Return the bash script of a failing example; ids, keys and ETags are its variables."""
    tale, finding = failure.tale, failure.finding
    names = names_of(tale)
    roles = sorted({sent.role for sent in tale.sent if sent.token is None} - {"anonymous"})
    text = HEAD.format(
        title=_line(finding.message),
        expected=_line(finding.expected),
        observed=_line(finding.observed),
        roles=", ".join(roles),
    )
    parts = [text, *(f"login {role}\n" for role in roles)]
    parts += [f"{name}={made}\n" for name, made in tale.made.values()]
    used = "".join(f"{sent.path} {json.dumps(sent.body)} {sent.token}" for sent in tale.sent)
    for number, sent in enumerate(tale.sent):
        known = names | {text: (name, -1, "") for text, (name, _) in tale.made.items()}
        parts.append(_request(tale, number, sent, known))
        parts += [
            f"{name}=$(pick {pointer})\n"
            for id_, (name, first, pointer) in names.items()
            if first == number and used.count(id_)
        ]
    parts.append(_end(failure, names))
    whole = "".join(parts)
    return whole if len(whole) <= SCRIPT_CHARS_MAX else whole[:SCRIPT_CHARS_MAX] + "\n# (cut)\n"


def _request(tale: Tale, number: int, sent: Sent, names: Mapping[str, tuple[str, int, str]]) -> str:
    lines = [f"\nSTEP={number + 1}\n"]
    key = "-"
    if sent.repeats is not None:
        key = f'"$key_{sent.repeats + 1}"'
    elif any(other.repeats == number for other in tale.sent):
        lines.append(f"key_{number + 1}=$(new_key)\n")
        key = f'"$key_{number + 1}"'
    elif sent.has_key:
        key = '"$(new_key)"'
    match = "-" if sent.if_match_of is None else f'"$etag_{sent.if_match_of + 1}"'
    path = _variables(_escaped(sent.path).replace('"', '\\"'), names)
    if sent.token is not None:
        lines.append(f'{sent.role.upper()}_TOKEN="{_variables(sent.token, names)}"\n')
    line = f'send {sent.role} {sent.method} "{path}" {key} {match}'
    if sent.body is None:
        lines.append(f"{line} < /dev/null\n")
    else:
        body = _variables(_escaped(json.dumps(sent.body, ensure_ascii=True)), names)
        lines.append(f"{line} <<JSON\n{body}\nJSON\n")
    if sent.expected:
        lines.append(f"expect {' '.join(map(str, sent.expected))}\n")
    elif sent.reply is not None:
        lines.append(f"expect {sent.reply.status}\n")
    if any(other.if_match_of == number for other in tale.sent):
        lines.append(f"etag_{number + 1}=$(etag)\n")
    return "".join(lines)


def _end(failure: Failure, names: Mapping[str, tuple[str, int, str]]) -> str:
    if failure.tale.proof is not None:
        pointer, value = failure.tale.proof
        shown = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        wanted = _variables(_escaped(shown).replace('"', '\\"'), names)
        return f'same {pointer} "{wanted}"\necho "everything is as it should be"\n'
    return (
        "# The answers above contradict each other; compare them with what was expected.\n"
        f"echo {_quoted(_line(failure.finding.message))}\n"
        f"echo expected: {_quoted(_line(failure.finding.expected))}\n"
        f"echo the run observed: {_quoted(_line(failure.finding.observed))}\n"
        'cat "$WORK/body"\n'
    )


def _line(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """Return text that bash leaves as it is where it expands variables."""
    for character in ("\\", "$", "`"):
        text = text.replace(character, f"\\{character}")
    return text


def _variables(text: str, names: Mapping[str, tuple[str, int, str]]) -> str:
    for id_, (name, _, _) in names.items():
        text = text.replace(id_, f"${{{name}}}")
    return text
