"""Verify ID tokens of other issuers, and read the identity from them.

Only issuers in the settings are accepted. This module does not know whether an ID token was exchanged before: the code
that exchanges a token stores its ``digest``.
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
LONGEST_LIFETIME_S = 86_400  # the digest of an exchanged token must be stored for this time
LONGEST_TOKEN = 16_384
_LONGEST_SUBJECT = 255
_UNVERIFIED: Options = {"verify_signature": False}
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]


class BadIdToken(Unauthenticated):
    """The ID token is not valid, or was issued for another user."""

    code = "bad_id_token"
    default_detail = "The ID token is not valid, or was issued for another user."


@dataclass(frozen=True)
class VerifiedIdentity:
    """The content of a genuine ID token."""

    issuer: str
    subject: str
    # The email address, if the issuer says that it is verified, and the settings trust the issuer for addresses.
    email: str | None
    # Identifies the token in the record of exchanged tokens.
    digest: bytes
    expires_at: datetime
    # When the user last authenticated at the issuer; None if the token does not say.
    authenticated_at: datetime | None
    # The issuer has verified a second factor that the settings accept.
    has_second_factor: bool


class Issuers:
    """The accepted issuers of ID tokens; a part of ``ServiceContainer``."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in read_issuers(settings.oidc_issuers)}
        self._keys = {name: IssuerKeys(issuer, settings, clock) for name, issuer in self._issuers.items()}

    def unreadable(self) -> dict[str, bool]:
        """Fetch the keys of each issuer; return by its name whether this fails."""
        return {name: self._is_unreadable(self._keys[name], issuer) for name, issuer in self._issuers.items()}

    def _is_unreadable(self, keys: IssuerKeys, issuer: OidcIssuer) -> bool:
        try:
            keys.find(None, min(issuer.algorithms))
        except IssuerUnavailable:
            return True
        return False

    def read(self, token: str, *, issuer: str | None = None, nonce: str | None = None) -> VerifiedIdentity:
        """Return the content of a genuine ID token; this may fetch the issuer's keys, which takes some time.

        :raises BadIdToken: it is forged, not for us, expired, or incomplete; the error does not say which.
        :raises IssuerUnavailable: its issuer's keys are not cached, and the issuer does not respond.
        """
        if len(token) > LONGEST_TOKEN:
            raise BadIdToken
        try:
            named = self._issuers[jwt.decode(token, options=_UNVERIFIED)["iss"]]
            if issuer not in (None, named.issuer):
                raise BadIdToken
            return _identity_of(named, self._verified(token, named), token, nonce)
        # OverflowError: a claim is an infinite number.
        except (PyJWTError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadIdToken from error

    def _verified(self, token: str, issuer: OidcIssuer) -> Mapping[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header["alg"]
        # An issuer signs other tokens with the same keys, such as access tokens; these have another ``typ``.
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


def _identity_of(issuer: OidcIssuer, claims: Mapping[str, Any], token: str, nonce: str | None) -> VerifiedIdentity:
    """Check the claims of a token with a valid signature; return its content."""
    _require_ours(issuer, claims)
    subject = claims["sub"]
    if not 0 < len(subject) <= _LONGEST_SUBJECT or "\x00" in subject:
        raise BadIdToken
    if claims["exp"] - claims["iat"] > LONGEST_LIFETIME_S:
        raise BadIdToken
    if nonce is not None and not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise BadIdToken
    auth_time = claims.get("auth_time")
    email = claims.get("email") if issuer.trusts_email and _is_verified(claims) else None
    return VerifiedIdentity(
        issuer=issuer.issuer,
        subject=subject,
        email=email if isinstance(email, str) and "\x00" not in email else None,
        # Without the signature: the same signature can be encoded in more than one way.
        digest=hashlib.sha256(token.rpartition(".")[0].encode()).digest(),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        authenticated_at=None if auth_time is None else datetime.fromtimestamp(auth_time, UTC),
        has_second_factor=not issuer.mfa_amr.isdisjoint(_texts(claims.get("amr"))),
    )


def _require_ours(issuer: OidcIssuer, claims: Mapping[str, Any]) -> None:
    """Check that a token's audiences are ours, and its authorized party if there are several.

    See OpenID Connect Core, 3.1.3.7.

    :raises BadIdToken: an audience, or the authorized party, is not ours.
    """
    audiences = [claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"]
    if not issuer.audiences.issuperset(audiences):
        raise BadIdToken
    if len(audiences) > 1 and claims.get("azp") not in issuer.audiences:
        raise BadIdToken


def _is_verified(claims: Mapping[str, Any]) -> bool:
    return claims.get("email_verified") in (True, "true")  # Apple sends a string


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
