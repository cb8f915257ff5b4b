"""Notification and reporting: the two that only take in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from certification.counterparties.behaviour import (
    Behaviour,
    Bounded,
    Call,
    Handler,
    now,
    problem_reply,
)
from certification.counterparties.wire import Reply, json_reply

EVENTS_REMEMBERED_MAX = 200_000
ACCOUNTS_REMEMBERED_MAX = 100_000
STATE_EVENTS_MAX = 1_000
Json = dict[str, Any]


@dataclass(slots=True)
class Notification(Behaviour):
    """Takes events, tells repetitions, and watches their order for each account."""

    seen: Bounded[tuple[str, str], int] = field(
        default_factory=lambda: Bounded(EVENTS_REMEMBERED_MAX)
    )
    last: Bounded[tuple[str, str], int] = field(
        default_factory=lambda: Bounded(ACCOUNTS_REMEMBERED_MAX)
    )
    """Highest seq by source and account."""
    accepted: int = 0
    duplicates: int = 0
    out_of_order: int = 0

    def state(self) -> Json:
        """Return the counts and the ids of the last events."""
        ids = [name for _, name in list(self.seen)[-STATE_EVENTS_MAX:]]
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "last_event_ids": ids,
        }

    def deliver(self, call: Call) -> Reply:
        """Take a batch."""
        new = 0
        for event in call.body:
            name = (event["source"], event["id"])
            if name in self.seen:
                continue
            new += 1
            self.seen[name] = event["seq"]
            self._in_order(event, call)
        self.accepted += new
        self.duplicates += len(call.body) - new
        return json_reply(202, {"accepted": new, "duplicates": len(call.body) - new})

    def _in_order(self, event: Json, call: Call) -> None:
        for account in event["data"]["account_ids"]:
            place = (event["source"], account)
            before = self.last.get(place, -1)
            if event["seq"] <= before:
                self.out_of_order += 1
                call.complain(f"order: seq {event['seq']} of {account} came after {before}")
            else:
                self.last[place] = event["seq"]

    operations: ClassVar[Mapping[str, Handler]] = {"deliverEvents": deliver}


@dataclass(slots=True)
class Reporting(Behaviour):
    """Takes reports, compares their digests, keeps what they are but not what they say."""

    reports: Bounded[str, Json] = field(default_factory=Bounded)
    """By the reporting system's id."""
    by_ref: Bounded[str, str] = field(default_factory=Bounded)

    def state(self) -> Json:
        """Return the reports."""
        return {"reports": list(self.reports.values())}

    def push(self, call: Call) -> Reply:
        """Keep a report."""
        body = call.body
        if body["report_ref"] in self.by_ref:
            return problem_reply("duplicate_report", "Read the report.")
        content = body["content"].encode()
        if len(content) != body["bytes"] or hashlib.sha256(content).hexdigest() != body["sha256"]:
            call.complain("bytes or sha256 are not those of the content")
            return problem_reply("digest_mismatch", "Length or SHA-256 are not of the content.")
        report_id = f"pub-{self.number()}"
        kept = {
            "report_id": report_id,
            "report_ref": body["report_ref"],
            "status": "received",
            "sha256": body["sha256"],
            "received_at": now(),
        }
        self.reports[report_id] = kept
        self.by_ref[body["report_ref"]] = report_id
        return json_reply(201, kept, headers={"location": f"/v1/reports/{report_id}"})

    def find(self, call: Call) -> Reply:
        """Return the report with the deployment's id, if there is one."""
        found = self.reports.get(self.by_ref.get(call.query["report_ref"], ""))
        return json_reply(200, {"data": [found] if found else []})

    def get(self, call: Call) -> Reply:
        """Return a report; it is published from its first reading on."""
        found = self.reports.get(call.path["report_id"])
        if found is None:
            return problem_reply("not_found", "There is no report with this id.")
        found["status"] = "published"
        return json_reply(200, found)

    operations: ClassVar[Mapping[str, Handler]] = {
        "pushReport": push,
        "findReports": find,
        "getReport": get,
    }
