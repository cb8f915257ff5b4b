"""User management: an issuer of identity tokens with its keys."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from certification.counterparties.behaviour import (
    Action,
    Behaviour,
    Bounded,
    Call,
    Handler,
    argument,
)
from certification.counterparties.wire import Reply, json_reply
from certification.errors import UsageError

AUDIENCE = "account-system"
ALGORITHM = "ES256"
CACHE_S = 60
TTL_S = 300
KEYS_MAX = 4
Json = dict[str, Any]
TAMPERS: Mapping[str, str] = {
    "none": "a token that is to be taken",
    "wrong_key": "signed with a key that is not published, under a published kid",
    "unknown_kid": "signed with a key that is not published, under its own kid",
    "algorithm_none": "no signature, alg none",
    "symmetric": "alg HS256, signed with the published key as secret",
    "wrong_audience": "for another system",
    "wrong_issuer": "from another issuer",
    "expired": "expired an hour ago",
    "not_yet": "good in an hour",
    "no_expiry": "without exp",
    "changed": "another subject put in after signing",
}


@dataclass(frozen=True, slots=True)
class _Key:
    kid: str
    private: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> Json:
        shown: Json = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**shown, "kid": self.kid, "use": "sig", "alg": ALGORITHM}


def _new_key() -> _Key:
    return _Key(f"key-{secrets.token_hex(4)}", ec.generate_private_key(ec.SECP256R1()))


@dataclass(slots=True)
class UserManagement(Behaviour):
    """Issues tokens when the control API asks, and publishes the keys to check them."""

    keys: list[_Key] = field(default_factory=lambda: [_new_key()])
    """The last one signs."""
    issued: Bounded[str, Json] = field(default_factory=Bounded)
    """Claims by token, of what is to be taken."""

    def state(self) -> Json:
        """Return the key ids and how many tokens there are."""
        return {"keys": [key.kid for key in self.keys], "issued": len(self.issued)}

    def get_metadata(self, call: Call) -> Reply:  # noqa: ARG002  a handler's signature
        """Return what the issuer says of itself."""
        url = self.around.url()
        document = {
            "issuer": url,
            "jwks_uri": f"{url}/jwks.json",
            "introspection_endpoint": f"{url}/oauth2/introspect",
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }
        return json_reply(200, document, headers={"cache-control": f"max-age={CACHE_S}"})

    def get_keys(self, call: Call) -> Reply:  # noqa: ARG002
        """Return the published keys."""
        document = {"keys": [key.public for key in self.keys]}
        return json_reply(200, document, headers={"cache-control": f"max-age={CACHE_S}"})

    def introspect(self, call: Call) -> Reply:
        """Say whether a token still counts."""
        claims = self.issued.get(call.body["token"])
        if claims is None or claims["exp"] <= time.time():
            return json_reply(200, {"active": False})
        shown = ("iss", "sub", "aud", "exp", "preferred_username")
        return json_reply(200, {"active": True, **{name: claims[name] for name in shown}})

    # -- what the control API has it do --------------------------------------------------------

    def issue(self, arguments: Json) -> Json:
        """Issue a token for `username`; `tamper` names what is wrong with it."""
        username = argument(arguments, "username", str)
        tamper = argument(arguments, "tamper", str, "none")
        if tamper not in TAMPERS:
            raise UsageError(f"tamper: not one of {', '.join(TAMPERS)}")
        claims = self._claims(
            username,
            subject=argument(arguments, "subject", str, f"person-{username}"),
            ttl_s=argument(arguments, "ttl_s", int, TTL_S),
        )
        claims |= _wrong_claims(tamper, claims)
        if tamper == "no_expiry":
            del claims["exp"]
        token = _signed(claims, self.keys[-1], tamper)
        if tamper == "none":
            self.issued[token] = claims
        return {"token": token, "claims": claims}

    def rotate(self, arguments: Json) -> Json:
        """Sign with a new key from now on; `withdraw` takes the old ones out of the set."""
        if argument(arguments, "withdraw", bool, default=False):
            self.keys.clear()
        self.keys.append(_new_key())
        del self.keys[:-KEYS_MAX]
        return self.state()

    def revoke(self, arguments: Json) -> Json:
        """End a token: introspection says so."""
        return {"revoked": self.issued.pop(argument(arguments, "token", str), None) is not None}

    def _claims(self, username: str, *, subject: str, ttl_s: int) -> Json:
        at = int(time.time())
        return {
            "iss": self.around.url(),
            "sub": subject,
            "aud": AUDIENCE,
            "iat": at,
            "nbf": at,
            "exp": at + ttl_s,
            "jti": secrets.token_urlsafe(12),
            "preferred_username": username,
        }

    operations: ClassVar[Mapping[str, Handler]] = {
        "getMetadata": get_metadata,
        "getKeys": get_keys,
        "introspectToken": introspect,
    }
    actions: ClassVar[Mapping[str, Action]] = {"issue": issue, "rotate": rotate, "revoke": revoke}


def _wrong_claims(tamper: str, claims: Json) -> Json:
    at = claims["iat"]
    return {
        "wrong_audience": {"aud": "another-system"},
        "wrong_issuer": {"iss": "https://elsewhere.invalid"},
        "expired": {"iat": at - 7200, "nbf": at - 7200, "exp": at - 3600},
        "not_yet": {"nbf": at + 3600, "exp": at + 7200},
    }.get(tamper, {})


def _signed(claims: Json, key: _Key, tamper: str) -> str:
    headers = {"kid": key.kid}
    match tamper:
        case "wrong_key":
            return jwt.encode(claims, _new_key().private, ALGORITHM, headers)
        case "unknown_kid":
            other = _new_key()
            return jwt.encode(claims, other.private, ALGORITHM, {"kid": other.kid})
        case "algorithm_none":
            return jwt.encode(claims, "", "none", headers)
        case "symmetric":
            return jwt.encode(claims, key.public["x"] + key.public["y"], "HS256", headers)
        case "changed":
            whole = jwt.encode(claims, key.private, ALGORITHM, headers)
            other_claims = {**claims, "preferred_username": "admin", "sub": "person-admin"}
            forged = jwt.encode(other_claims, key.private, ALGORITHM, headers)
            head, _, signature = whole.split(".")
            return f"{head}.{forged.split('.')[1]}.{signature}"
        case _:
            return jwt.encode(claims, key.private, ALGORITHM, headers)
