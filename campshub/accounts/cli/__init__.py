"""The commands of accounts."""

from campshub.accounts.cli.api_keys import api_keys
from campshub.accounts.cli.audit import audit
from campshub.accounts.cli.organizations import organizations
from campshub.accounts.cli.users import users

__all__ = ["commands"]

commands = (organizations, users, api_keys, audit)
