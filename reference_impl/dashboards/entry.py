"""The way of a browser into the dashboards: a cookie that stands for a session, and only here.

The login page gets an access token from the API's own login (second factor, lock-out, audit) and
exchanges it for the cookie. The cookie is out of reach of scripts, is sent to these pages alone and
by these pages alone (SameSite=Strict), and is no access token: the API refuses it. Each request
looks the session up, so a logout, a new role or a lock counts at once.
"""

import flask
import jwt
from flask import request

from reference_impl import access, config, tokens, web
from reference_impl.problems import Problem

COOKIE = "alluse_dashboards"
PATH = "/dashboards"
ISSUER = "alluse-dashboards"
IDLE_S = config.SESSION_IDLE_S
RENEW_S = 300
"""A page that is looked at renews its cookie this often; the session's own end is not moved."""


def caller() -> access.Caller:
    """Return who is looking: by access token if one is sent, else by cookie.

    401 without a live session, 403 below operator. A service needs the scope metrics:read.
    """
    if "Authorization" in request.headers:
        return web.caller(access.Rank.OPERATOR)
    claims = read(request.cookies.get(COOKIE, ""))
    shared = web.services()
    stands_for = tokens.issue(
        shared.token_secret,
        user_id=claims["sub"],
        session_id=claims["sid"],
        now_ms=shared.clock.now_ms(),
    )
    found = web.authenticate(stands_for)
    access.check_scope(found)
    access.check_rank(found, access.Rank.OPERATOR)
    return found


def read(cookie: str) -> dict[str, str]:
    """Return the claims of a cookie that is good at the server's time; 401 otherwise."""
    if not cookie:
        raise Problem("token_missing", "Sign in at /dashboards/login, or send an access token.")
    shared = web.services()
    try:
        claims = jwt.decode(
            cookie,
            shared.token_secret,
            algorithms=[tokens.ALGORITHM],
            issuer=ISSUER,
            audience=PATH,
            options={"require": ["exp", "sub", "sid"], "verify_exp": False, "verify_iat": False},
        )
        expires_s = int(claims["exp"])
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise Problem("token_invalid", "The cookie is not valid; sign in again.") from None
    if expires_s * 1000 <= shared.clock.now_ms():
        raise Problem("token_expired", "Nobody has looked for a while; sign in again.")
    return {"sub": str(claims["sub"]), "sid": str(claims["sid"]), "exp": str(expires_s)}


def admit(response: flask.Response, found: access.Caller) -> flask.Response:
    """Give the browser a cookie for this session."""
    shared = web.services()
    now_s = shared.clock.now_ms() // 1000
    claims = {
        "iss": ISSUER,
        "aud": PATH,
        "sub": found.user_id,
        "sid": found.session_id,
        "exp": now_s + IDLE_S,
    }
    value = jwt.encode(claims, shared.token_secret, algorithm=tokens.ALGORITHM)
    response.set_cookie(
        COOKIE, value, max_age=IDLE_S, path=PATH, secure=True, httponly=True, samesite="Strict"
    )
    return response


def renew(response: flask.Response, found: access.Caller) -> flask.Response:
    """Give a new cookie if the present one has been used for a while."""
    if "Authorization" in request.headers:
        return response
    left_s = int(read(request.cookies[COOKIE])["exp"]) - web.now_ms() // 1000
    return response if left_s > IDLE_S - RENEW_S else admit(response, found)


def dismiss(response: flask.Response) -> flask.Response:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path=PATH, secure=True, httponly=True, samesite="Strict")
    return response
