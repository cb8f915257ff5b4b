"""Writes a commented `target.toml` from what a deployment declares about itself."""

from collections.abc import Mapping

from certification.model import Json
from certification.target.address import BaseUrl
from certification.target.client import BODY_MAX_BYTES, DEADLINE_S

_TEMPLATE = """\
# Target file for {name} {version}, which declares: {modules}.
# Check it with `certify doctor --target FILE`; it sends reads and logins only.

[target]
name = "{host}"
base_url = "{base_url}"

# Identities. Give an admin, and the harness creates a customer, a second customer, an operator, a
# manager and an auditor, and disables them afterwards; or leave the admin out and give those five.
# A password is never written here: "env:NAME" names an environment variable, "file:PATH" a file.
[identities.admin]
username = "admin"
password = "env:TARGET_ADMIN_PASSWORD"

# [identities.customer]
# username = "certification-customer"
# password = "env:TARGET_CUSTOMER_PASSWORD"
# ... and customer2, operator, manager, auditor the same way.
# [identities.service]    # a machine principal, where the deployment has them
# username = "certification-service"
# password = "file:service.secret"

# [tls]
# ca = "private-ca.pem"                  # a private authority; then the only one that is trusted
# client_certificate = "client.pem"
# client_key = "client-key.pem"          # not encrypted

[grants]
# The checks send money-shaped writes and touch only what they created. Load, attacks, faults and
# changes of configuration (growth policies, put back afterwards) need your word in addition; switch
# them on for a system that may break.
load = false
attack = false
fault = false
configuration = false
# source = "../checkout"                 # the deployment's source tree
# documents = "../checkout/docs"
# metrics = "/metrics"                   # path below base_url, or a URL of a host in allow_hosts
# logs = "/var/log/target"
# traces = "https://traces.example.org/api"
# alerts = "https://alerts.example.org/api/v2/alerts"
# dashboards = "../checkout/ops/dashboards"

# [grants.hooks]                         # commands that may be run, as argument lists; no shell
# start = ["systemctl", "start", "target"]
# stop = ["systemctl", "stop", "target"]
# backup = ["./backup.sh"]               # also: restore, deploy, rollback, scale

# [counterparties]                       # if the deployment is pointed at `certify counterparties`
# control = "http://127.0.0.1:9400"      # its control API, on the machine of the run
# token = "env:CERTIFY_COUNTERPARTIES_TOKEN"

[limits]
# Nothing is sent to a host that is not listed, whatever an answer says.
allow_hosts = ["{allowed}"]
# requests_per_second = 50
# requests_max = 100000
# timeout_s = {timeout_s:g}                         # of one exchange from connect to the last byte
# body_max_bytes = {body_max_bytes}
{proxy}"""

_PROXY = """
# A proxy stands before the first table: proxy = "http://proxy.example.org:3128"
"""


def target_template(base_url: BaseUrl, document: Json) -> str:
    """Return the text of a target file that loads as soon as its variable is set.

    What the deployment says appears in comments only, as printable text on one line.
    """
    implementation = document.get("implementation")
    named = implementation if isinstance(implementation, Mapping) else {}
    listed = document.get("modules")
    rows = listed if isinstance(listed, list) else []
    modules = [_comment(row.get("id")) for row in rows if isinstance(row, Mapping)]
    name = f"[{base_url.host}]" if ":" in base_url.host else base_url.host
    return _TEMPLATE.format(
        name=_comment(named.get("name")),
        version=_comment(named.get("version")),
        modules=", ".join(modules[:20]) or "nothing",
        host=base_url.authority,
        base_url=base_url.text,
        allowed=f"{name}:{base_url.port}",
        timeout_s=DEADLINE_S,
        body_max_bytes=BODY_MAX_BYTES,
        proxy=_PROXY,
    )


def _comment(value: object) -> str:
    text = value if isinstance(value, str) else "unknown"
    return "".join(c if c.isprintable() else "?" for c in text[:80])
