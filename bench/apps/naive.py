# ruff: noqa: D101, D102, ANN001 - written as its users would
"""What a typical user would write: flask-smorest, Flask-SQLAlchemy entities, marshmallow dump; no sign-in, no chain.

It reads and writes the same tables through the same PgBouncer, with the role that bypasses policies, and filters by the
organization in its queries. Its pool is as large as CampsHub's, so it waits for connections no longer.
"""

import os
import uuid
from datetime import date, datetime
from typing import Any

from flask import Flask
from flask.views import MethodView
from flask_smorest import Api, Blueprint
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, fields
from sqlalchemy import ForeignKeyConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.engine import URL
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

ORGANIZATION = uuid.UUID(os.environ["BENCH_ORGANIZATION"])
PAGE = 50

app = Flask("naive")
app.config.update(
    API_TITLE="naive",
    API_VERSION="1",
    OPENAPI_VERSION="3.0.3",
    SQLALCHEMY_DATABASE_URI=URL.create(
        "postgresql+psycopg",
        username=os.environ["POSTGRES_SYSTEM_USER"],
        password=os.environ["POSTGRES_SYSTEM_PASSWORD"],
        host=os.environ["POSTGRES_HOST"],
        port=int(os.environ["POSTGRES_PORT"]),
        database=os.environ["POSTGRES_DB"],
    ),
    SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 20, "max_overflow": 0, "connect_args": {"prepare_threshold": None}},
)
db = SQLAlchemy(app)
api = Api(app)
blueprint = Blueprint("naive", __name__, url_prefix="/api")


class Student(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "students"

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    code: Mapped[str]
    external_id: Mapped[str | None]
    user_id: Mapped[uuid.UUID | None]
    given_name: Mapped[str]
    family_name: Mapped[str]
    preferred_name: Mapped[str | None]
    sort_name: Mapped[str]
    search_text: Mapped[str]
    date_of_birth: Mapped[date | None]
    gender: Mapped[str | None]
    email: Mapped[str | None]
    phone: Mapped[str | None]
    address: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    emergency_contacts: Mapped[list[Any]] = mapped_column(JSONB, default=list)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    custom_fields: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    photo_id: Mapped[uuid.UUID | None]
    status: Mapped[str] = mapped_column(default="active")
    joined_on: Mapped[date | None]
    left_on: Mapped[date | None]
    deleted_at: Mapped[datetime | None] = mapped_column(db.DateTime(timezone=True))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(db.DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        db.DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )
    guardians: Mapped[list["StudentGuardian"]] = db.relationship(
        order_by="StudentGuardian.is_primary.desc(), StudentGuardian.position", viewonly=True
    )


class Guardian(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "guardians"

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    name: Mapped[str]
    phone: Mapped[str | None]
    email: Mapped[str | None]


class StudentGuardian(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "student_guardians"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "student_id"], ["students.organization_id", "students.id"]),
        ForeignKeyConstraint(["organization_id", "guardian_id"], ["guardians.organization_id", "guardians.id"]),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    student_id: Mapped[uuid.UUID]
    guardian_id: Mapped[uuid.UUID]
    position: Mapped[int]
    relation: Mapped[str | None]
    is_primary: Mapped[bool]
    may_pick_up: Mapped[bool]
    receives_notifications: Mapped[bool]
    guardian: Mapped[Guardian] = db.relationship(lazy="joined", innerjoin=True, viewonly=True)


class Meeting(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "attendance_sessions"

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    group_id: Mapped[uuid.UUID | None]
    local_date: Mapped[date]


class Mark(db.Model):  # type: ignore[name-defined,misc]
    __tablename__ = "attendance_records"

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    local_date: Mapped[date] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    session_id: Mapped[uuid.UUID]
    student_id: Mapped[uuid.UUID]
    group_id: Mapped[uuid.UUID | None]
    code: Mapped[str]
    counts_as: Mapped[str]
    in_rate: Mapped[bool] = mapped_column(default=True)
    source: Mapped[str] = mapped_column(default="api")


class StudentSchema(Schema):
    id = fields.UUID(dump_only=True)
    code = fields.String(required=True)
    external_id = fields.String()
    user_id = fields.UUID()
    given_name = fields.String(required=True)
    family_name = fields.String(required=True)
    preferred_name = fields.String()
    date_of_birth = fields.Date()
    gender = fields.String()
    email = fields.Email()
    phone = fields.String()
    photo_id = fields.UUID(dump_only=True)
    tags = fields.List(fields.String())
    custom_fields = fields.Dict()
    status = fields.String()
    joined_on = fields.Date()
    left_on = fields.Date()
    deleted_at = fields.DateTime(dump_only=True)
    created_at = fields.DateTime(dump_only=True)
    updated_at = fields.DateTime(dump_only=True)
    version = fields.Integer(dump_only=True)


class StudentGuardianSchema(Schema):
    guardian_id = fields.UUID()
    name = fields.String(attribute="guardian.name")
    relation = fields.String()
    phone = fields.String(attribute="guardian.phone")
    email = fields.String(attribute="guardian.email")
    is_primary = fields.Boolean()
    may_pick_up = fields.Boolean()
    receives_notifications = fields.Boolean()


class StudentDetailSchema(StudentSchema):
    address = fields.Dict()
    emergency_contacts = fields.List(fields.Dict())
    guardians = fields.List(fields.Nested(StudentGuardianSchema), dump_only=True)


class MarkSchema(Schema):
    id = fields.UUID(dump_only=True)
    student_id = fields.UUID(required=True)
    code = fields.String(required=True)


class MarksSchema(Schema):
    records = fields.List(fields.Nested(MarkSchema), required=True)


@blueprint.route("/students/")
class Students(MethodView):
    @blueprint.response(200, StudentSchema(many=True))
    def get(self):
        mine = db.select(Student).filter_by(organization_id=ORGANIZATION, deleted_at=None)
        return db.session.scalars(mine.order_by(Student.sort_name, Student.id).limit(PAGE)).all()

    @blueprint.arguments(StudentDetailSchema)
    @blueprint.response(201, StudentDetailSchema)
    def post(self, payload):
        name = f"{payload['family_name']} {payload['given_name']}".lower()
        student = Student(
            organization_id=ORGANIZATION, sort_name=name, search_text=f"{payload['code']} {name}", **payload
        )
        db.session.add(student)
        db.session.commit()
        return student


@blueprint.route("/students/<uuid:student_id>/")
class OneStudent(MethodView):
    @blueprint.response(200, StudentDetailSchema)
    def get(self, student_id):
        return db.get_or_404(Student, (ORGANIZATION, student_id))


@blueprint.route("/sessions/<uuid:session_id>/records/")
class Register(MethodView):
    """A register with ORM objects, written with care: one query for the existing marks, no reads after the commit."""

    @blueprint.arguments(MarksSchema)
    @blueprint.response(200)
    def put(self, payload, session_id):
        meeting = db.get_or_404(Meeting, (ORGANIZATION, session_id))
        marks = {mark.student_id: mark for mark in db.session.scalars(_marks(meeting))}
        for row in payload["records"]:
            mark = marks.get(row["student_id"]) or _new(meeting, row["student_id"])
            mark.code = mark.counts_as = row["code"]
            marks[row["student_id"]] = mark
        db.session.flush()
        response = MarkSchema(many=True).dump(marks.values())
        db.session.commit()
        return response


@blueprint.route("/sessions/<uuid:session_id>/records/each/")
class RegisterByRow(MethodView):
    """The same as it is most often written: one query for each row's mark."""

    @blueprint.arguments(MarksSchema)
    @blueprint.response(200, MarkSchema(many=True))
    def put(self, payload, session_id):
        meeting = db.get_or_404(Meeting, (ORGANIZATION, session_id))
        marks = []
        for row in payload["records"]:
            student_id = row["student_id"]
            mark = db.session.scalar(_marks(meeting).filter_by(student_id=student_id)) or _new(meeting, student_id)
            mark.code = mark.counts_as = row["code"]
            marks.append(mark)
        db.session.commit()
        return marks


def _marks(meeting: Meeting) -> Any:
    same = {"organization_id": ORGANIZATION, "local_date": meeting.local_date, "session_id": meeting.id}
    return db.select(Mark).filter_by(**same)


def _new(meeting: Meeting, student_id: uuid.UUID) -> Mark:
    mark = Mark(
        organization_id=ORGANIZATION,
        local_date=meeting.local_date,
        id=uuid.uuid4(),
        session_id=meeting.id,
        student_id=student_id,
        group_id=meeting.group_id,
    )
    db.session.add(mark)
    return mark


api.register_blueprint(blueprint)
