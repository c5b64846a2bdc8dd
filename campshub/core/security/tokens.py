"""Access tokens: short-lived, signed with Ed25519 (EdDSA), with ``kid`` naming a key of a fixed ring.

Verifying a signature takes longer than all other work of the edge for a request, so genuine tokens are cached until
they expire. Values that can change before then (the session version, the role) are not trusted from the token but
looked up for each request.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token
from jwt.exceptions import PyJWTError

from campshub.config import Settings, read_keys
from campshub.core.cache.bounded import BoundedMap
from campshub.core.errors import InvalidToken
from campshub.core.security.opaque import OpaqueTokens

ALGORITHM = "EdDSA"
AUDIENCE = "campshub"
REMEMBERED = 20_000
LONGEST_TOKEN = 4_096


class BadToken(InvalidToken):
    """The access token is invalid or has expired."""

    code = "bad_token"
    default_detail = "The access token is invalid or has expired."


@dataclass(frozen=True)
class Claims:
    """The claims of an access token or API key."""

    user_id: UUID
    organization_id: UUID
    session_id: UUID | None
    session_version: int
    expires_at: float
    # The role requires a second factor that the user does not have: the user may only set one up.
    must_enrol: bool = False
    # The API key, if it is not a token of a session; it acts for the user who created it.
    api_key_id: UUID | None = None
    # The limit per caller in the organization's plan; None: the default.
    requests_per_hour: int | None = None

    @cached_property
    def caller(self) -> str:
        """The caller's id as text: that of the API key if there is one, else that of the user."""
        return str(self.api_key_id or self.user_id)

    @cached_property
    def organization(self) -> str:
        """The organization's id as text."""
        return str(self.organization_id)

    @cached_property
    def user(self) -> str:
        """The user's id as text."""
        return str(self.user_id)

    @cached_property
    def session(self) -> str:
        """The session's id as text."""
        return str(self.session_id)


class Tokens:
    """Issues and verifies access tokens; has the key of the opaque tokens."""

    def __init__(self, settings: Settings) -> None:
        self._keys = {
            kid: Ed25519PrivateKey.from_private_bytes(seed)
            for kid, seed in read_keys(settings.jwt_private_keys).items()
        }
        self._public = {kid: key.public_key() for kid, key in self._keys.items()}
        self._current = next(iter(self._keys))
        self.opaque = OpaqueTokens(settings.secret_key)
        self._issuer = settings.jwt_issuer
        self.lifetime = timedelta(minutes=settings.access_token_minutes)
        self._remembered: BoundedMap[str, Claims] = BoundedMap(REMEMBERED)

    def init_app(self, app: Flask) -> None:
        """Configure flask-jwt-extended, which issues the tokens."""
        app.config.update(
            JWT_ALGORITHM=ALGORITHM,
            JWT_PRIVATE_KEY=self._keys[self._current],
            JWT_PUBLIC_KEY=self._public[self._current],
            JWT_ENCODE_ISSUER=self._issuer,
            JWT_ENCODE_AUDIENCE=AUDIENCE,
            JWT_ACCESS_TOKEN_EXPIRES=self.lifetime,
        )
        JWTManager(app)

    def issue(
        self,
        *,
        user_id: UUID,
        organization_id: UUID,
        session_id: UUID,
        session_version: int,
        must_enrol: bool = False,
        requests_per_hour: int | None = None,
    ) -> str:
        """Return an access token for one user in one organization."""
        token: str = create_access_token(
            identity=str(user_id),
            additional_claims={
                "org": str(organization_id),
                "sid": str(session_id),
                "sv": session_version,
                **({"enrol": True} if must_enrol else {}),
                **({"rph": requests_per_hour} if requests_per_hour else {}),
            },
            additional_headers={"kid": self._current},
        )
        return token

    def remembered(self, token: str) -> Claims | None:
        """Return the claims of a cached token that has not expired."""
        claims = self._remembered.get(token)
        return claims if claims is not None and claims.expires_at > time.time() else None

    def remember(self, token: str, claims: Claims) -> None:
        """Cache the claims of a genuine token or key; whether it is still valid is checked in each request."""
        self._remembered.put(token, claims)

    def read(self, token: str) -> Claims:
        """Return the claims of a genuine token.

        :raises BadToken: it is forged, incomplete or expired.
        """
        claims = self._remembered.get(token)
        if claims is None:
            claims = self._verify(token)
            self.remember(token, claims)
        if claims.expires_at <= time.time():
            raise BadToken
        return claims

    def _verify(self, token: str) -> Claims:
        """Verify a token with PyJWT: flask-jwt-extended would accept a token without a type as an access token."""
        if len(token) > LONGEST_TOKEN:
            raise BadToken
        try:
            payload = jwt.decode(
                token,
                self._public[jwt.get_unverified_header(token)["kid"]],
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": ["sub", "jti", "iat", "exp", "iss", "aud"]},
            )
            if payload["type"] != "access":
                raise BadToken
            return Claims(
                user_id=UUID(payload["sub"]),
                organization_id=UUID(payload["org"]),
                session_id=UUID(payload["sid"]),
                session_version=int(payload["sv"]),
                expires_at=float(payload["exp"]),
                must_enrol=bool(payload.get("enrol")),
                requests_per_hour=payload.get("rph"),
            )
        # OverflowError: a claim is an infinite number.
        except (PyJWTError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadToken from error
