"""Fixtures and functions that several tests of accounts use."""

import ipaddress
import random

import pytest

from campshub.core.db.models import new_id
from campshub.core.security.permissions import Role
from tests.conftest import PASSWORD, Client
from tests.issuer import the_issuer

KEYS = "/api/api-keys/"


def email_of(client):
    return client.get("/api/me/").json["email"]


@pytest.fixture
def anonymous(app):
    return Client(app)


def signed_in(who):
    """Return a client of a session that has just confirmed its password."""
    tokens = Client(who.app).made("/api/auth/token/", {"email": email_of(who), "password": PASSWORD})
    return Client(who.app, {"Authorization": f"Bearer {tokens['access_token']}"}, who.user_id)


def with_key(app, key):
    return Client(app, {"Authorization": f"Bearer {key}"})


@pytest.fixture
def admin(api):
    return signed_in(api)


@pytest.fixture
def mail(api):
    """Claims about the admin's e-mail address for an ID token."""
    return {"email": email_of(api).upper(), "email_verified": True}


@pytest.fixture
def make(app, admin):
    """Return a maker of keys: ``make("students:read", scope="all")`` returns the response and a client with the key."""

    def making(*permissions, by=admin, **fields):
        named = {"permissions": list(permissions)} if permissions else {}
        made = by.made(KEYS, {"name": "Till", "expires_in_days": 30, **named, **fields})
        return made, with_key(app, made["key"])

    return making


def outcome(response):
    return response.status, response.problem["code"] if response.status >= 400 else None


def key_events(sql, tenant):
    found = sql("SELECT kind, api_key_id FROM security_events WHERE organization_id = %s ORDER BY id", tenant.id)
    return [(kind, str(key)) for kind, key in found if kind.startswith("key")]


def an_address():
    """Return an IP address that no other test has used."""
    return str(ipaddress.IPv4Address(random.randint(0x0A000000, 0x0AFFFFFF)))


@pytest.fixture
def issuer():
    return the_issuer()


def events(sql, kind, user_id):
    return len(sql("SELECT 1 FROM security_events WHERE kind = %s AND user_id = %s", kind, user_id))


@pytest.fixture
def role(api):
    """Return a maker of own roles: ``role("students:read", scope="groups")`` returns its id."""

    def making(*permissions, scope="all", by=api):
        body = {"name": f"Role {new_id().hex}", "permissions": list(permissions), "scope": scope}
        return by.made("/api/roles/", body)["id"]

    return making


@pytest.fixture
def holder(api, tenant):
    """Return a maker of users who have an own role."""

    def making(role_id):
        client = tenant.someone(Role.CLIENT)
        response = api.patch(f"/api/users/{client.user_id}/", {"role_id": role_id})
        assert (response.status, response.json["role"], response.json["role_id"]) == (200, "custom", role_id)
        return client

    return making
