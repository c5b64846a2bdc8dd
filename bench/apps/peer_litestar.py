# ruff: noqa: D101 - written as its users would
"""The list of students by Litestar, msgspec and asyncpg, served by Granian: no sign-in, no tenancy, no chain."""

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any

import asyncpg
from litestar import Litestar, Request, get
from msgspec import Struct

ORGANIZATION = uuid.UUID(os.environ["BENCH_ORGANIZATION"])


class Student(Struct):
    id: uuid.UUID
    code: str
    external_id: str | None
    user_id: uuid.UUID | None
    given_name: str
    family_name: str
    preferred_name: str | None
    date_of_birth: date | None
    gender: str | None
    email: str | None
    phone: str | None
    photo_id: uuid.UUID | None
    tags: list[str]
    custom_fields: dict[str, Any]
    status: str
    joined_on: date | None
    left_on: date | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


LIST = (
    f"SELECT {', '.join(Student.__struct_fields__)} FROM students"  # noqa: S608 - the names are the struct's
    " WHERE organization_id = $1 AND deleted_at IS NULL ORDER BY sort_name, id LIMIT 50"
)


async def read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


@asynccontextmanager
async def pooled(app: Litestar) -> AsyncIterator[None]:
    url = os.environ["PEER_DATABASE_URL"]
    async with asyncpg.create_pool(url, min_size=5, max_size=20, init=read_json) as pool:
        app.state.pool = pool
        yield


@get("/api/students/")
async def students(request: Request) -> list[Student]:
    return [Student(*row) for row in await request.app.state.pool.fetch(LIST, ORGANIZATION)]


app = Litestar([students], lifespan=[pooled])
