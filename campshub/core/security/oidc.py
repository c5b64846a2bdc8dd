"""ID tokens of other issuers: verified in full, and what they show of who signs in.

Only issuers that the settings name count. Whether an ID token was exchanged before is not known here: its ``digest`` is
kept by whoever exchanges it.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from jwt.exceptions import PyJWTError
from jwt.types import Options

from campshub.config import OidcIssuer, Settings, read_issuers
from campshub.core.errors import Unauthenticated
from campshub.core.security.jwks import IssuerKeys, IssuerUnavailable

LEEWAY_S = 30
LONGEST_LIFE_S = 86_400  # so long must an exchanged one be remembered
LONGEST_TOKEN = 16_384
_LONGEST_SUBJECT = 255
_READABLE: Options = {"verify_signature": False}
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]


class BadIdToken(Unauthenticated):
    """The ID token is not valid, or not for whom it would sign in."""

    code = "bad_id_token"
    default_detail = "The ID token is not valid, or not for whom it would sign in."


@dataclass(frozen=True)
class Shown:
    """What a genuine ID token shows."""

    issuer: str
    subject: str
    # The e-mail address, where the issuer says that it is verified and is trusted to say so.
    email: str | None
    # Stands for the token where it is noted that it was exchanged.
    digest: bytes
    expires_at: datetime
    # When the user has last shown the issuer who they are; None where it does not say.
    authenticated_at: datetime | None
    # The issuer has asked for a second factor, and that counts.
    has_second_factor: bool


class Issuers:
    """The issuers whose ID tokens are taken; ``ServiceContainer`` holds them."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in read_issuers(settings.oidc_issuers)}
        self._keys = {name: IssuerKeys(issuer, settings, clock) for name, issuer in self._issuers.items()}

    def unreadable(self) -> dict[str, bool]:
        """Ask each issuer for its keys; return its name with whether there are none that could be used."""
        return {name: self._is_unreadable(self._keys[name], issuer) for name, issuer in self._issuers.items()}

    def _is_unreadable(self, keys: IssuerKeys, issuer: OidcIssuer) -> bool:
        try:
            keys.find(None, min(issuer.algorithms))
        except IssuerUnavailable:
            return True
        return False

    def read(self, token: str, *, issuer: str | None = None, nonce: str | None = None) -> Shown:
        """Return what a genuine ID token shows; its issuer may be asked for its keys, which takes a while.

        :raises BadIdToken: it is not genuine, not for us, has run out, or lacks something; which, is not told.
        :raises IssuerUnavailable: its issuer's keys are not known, and it does not answer.
        """
        if len(token) > LONGEST_TOKEN:
            raise BadIdToken
        try:
            named = self._issuers[jwt.decode(token, options=_READABLE)["iss"]]
            if issuer not in (None, named.issuer):
                raise BadIdToken
            return _shown(named, self._verified(token, named), token, nonce)
        # The last one: numbers without end.
        except (PyJWTError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadIdToken from error

    def _verified(self, token: str, issuer: OidcIssuer) -> Mapping[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header["alg"]
        # Also other tokens of an issuer are signed with its keys; those for its own services say so.
        is_other = header.get("typ", "JWT").upper() != "JWT" or "crit" in header or "b64" in header
        if algorithm not in issuer.algorithms or is_other:
            raise BadIdToken
        key = self._keys[issuer.issuer].find(header.get("kid"), algorithm)
        if key is None:
            raise BadIdToken
        return jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=issuer.audiences,
            issuer=issuer.issuer,
            leeway=LEEWAY_S,
            options={"require": _REQUIRED},
        )


def _shown(issuer: OidcIssuer, claims: Mapping[str, Any], token: str, nonce: str | None) -> Shown:
    """Check what remains to be checked of genuine claims; return what they show."""
    _require_ours(issuer, claims)
    subject = claims["sub"]
    if not 0 < len(subject) <= _LONGEST_SUBJECT or "\x00" in subject:
        raise BadIdToken
    if claims["exp"] - claims["iat"] > LONGEST_LIFE_S:
        raise BadIdToken
    if nonce is not None and not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise BadIdToken
    auth_time = claims.get("auth_time")
    email = claims.get("email") if issuer.trusts_email and _is_verified(claims) else None
    return Shown(
        issuer=issuer.issuer,
        subject=subject,
        email=email if isinstance(email, str) and "\x00" not in email else None,
        # Of what is signed: the signature itself may be written in more than one way.
        digest=hashlib.sha256(token.rpartition(".")[0].encode()).digest(),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        authenticated_at=None if auth_time is None else datetime.fromtimestamp(auth_time, UTC),
        has_second_factor=not issuer.mfa_amr.isdisjoint(_texts(claims.get("amr"))),
    )


def _require_ours(issuer: OidcIssuer, claims: Mapping[str, Any]) -> None:
    """Refuse a token that is for others as well, unless it was made for one of ours (OpenID Connect Core, 3.1.3.7).

    :raises BadIdToken: it is.
    """
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    if not issuer.audiences.issuperset(audiences):
        raise BadIdToken
    if len(audiences) > 1 and claims.get("azp") not in issuer.audiences:
        raise BadIdToken


def _is_verified(claims: Mapping[str, Any]) -> bool:
    return claims.get("email_verified") in (True, "true")  # Apple writes it as a text


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
