"""Who may read what: a thread belongs to the user who began it."""

from __future__ import annotations

import secrets

from fastapi import Request
from itsdangerous import BadSignature, Signer

COOKIE = "user"
YEAR = 31_536_000  # seconds


async def user_of(request: Request) -> str:
    """Return who asks, as a text without line breaks.

    Put your own log-in here: read your proxy's header or your session, and
    raise `HTTPException(401)` for whom you do not know. By default a browser
    is a user. It gets a random name in a cookie, which is signed: nobody can
    take another's, and who loses the cookie loses the threads.
    """
    signer = Signer(request.app.state.secret)
    try:
        return signer.unsign(request.cookies.get(COOKIE, "")).decode()
    except BadSignature:
        user = secrets.token_hex(16)
        secure = "; Secure" if request.url.scheme == "https" else ""
        request.state.cookie = (
            f"{COOKIE}={signer.sign(user).decode()}; Max-Age={YEAR}; Path=/; "
            f"HttpOnly; SameSite=Lax{secure}"
        )
        return user
