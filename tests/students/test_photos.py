"""Photos of students: re-encoded in two sizes without metadata, in the storage, sent by signed links."""

import base64
import io
import struct
import zlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from PIL import Image

from campshub.core.db.models import new_id
from campshub.core.jobs.runner import Outcome
from campshub.core.security.permissions import Role
from campshub.students import photos
from campshub.students.service import photos as service
from tests.conftest import Client
from tests.pending_jobs import run_pending

TURNED = 6  # the EXIF orientation of a picture whose top is at its right


def encoded(image, kind="JPEG", **options):
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def picture(width=1200, height=800, mode="RGB"):
    """Return a picture whose left half is red and whose right half is blue."""
    found = Image.new(mode, (width, height), "blue")
    found.paste("red", (0, 0, width // 2, height))
    return found


def png(width, height):
    """Return a PNG whose header declares a size, with hardly any data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def stored(app, tenant):
    """Return the names of the stored files of an organization's photos."""
    return app.extensions["campshub"].storage.folder(f"{tenant.id}/photos")


@pytest.fixture
def put(api):
    """Return a function that sets a photo from bytes, and returns the response."""

    def set_photo(student, data, client=None, **options):
        body = {"image": base64.b64encode(data).decode()}
        return (client or api).put(f"/api/students/{student['id']}/photo/", body, **options)

    return set_photo


def shown(app, url):
    response = Client(app).get(url)
    assert (response.status, response.headers["Content-Type"]) == (200, "image/jpeg")
    return Image.open(io.BytesIO(response.raw.get_data()))


def test_a_photo_is_stored_in_two_sizes_and_the_student_shows_its_id(api, app, student, put):
    made = student()

    response = put(made, encoded(picture()))

    assert response.status == 200
    assert [shown(app, response.json[f"{size}_url"]).size for size in ("small", "large")] == [(128, 85), (512, 341)]
    url = f"/api/students/{made['id']}/"
    assert api.get(url).json["photo_id"] == response.json["photo_id"]
    assert api.get("/api/students/").json["items"][0]["photo_id"] == response.json["photo_id"]
    assert api.get(f"{url}photo/").json["photo_id"] == response.json["photo_id"]


def test_the_picture_is_upright_and_has_no_metadata(app, student, put):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    exif[0x010E] = "Quokkabound"
    exif.get_ifd(0x8825).update({1: "N", 2: (12.0, 58.0, 0.0)})  # the GPS position
    data = encoded(picture(), exif=exif, comment=b"Zanzibarian", icc_profile=b"profile of no colour")
    assert b"Quokkabound" in data

    response = put(student(), data)

    for size in ("small", "large"):
        raw = Client(app).get(response.json[f"{size}_url"]).raw.get_data()
        found = Image.open(io.BytesIO(raw))
        assert found.height > found.width
        top, bottom = (found.getpixel((found.width // 2, y)) for y in (2, found.height - 3))
        assert top[0] > top[2]  # red is at the top
        assert bottom[2] > bottom[0]
        assert not found.getexif()
        assert not found.info.keys() & {"comment", "exif", "icc_profile", "xmp"}
        assert not any(word in raw for word in (b"Quokkabound", b"Zanzibarian", b"GPS", b"profile of"))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("WEBP", "RGBA"), ("JPEG", "CMYK")]
)
def test_each_accepted_format_becomes_a_jpeg(app, student, put, kind, mode):
    response = put(student(), encoded(picture(300, 200).convert(mode), kind))

    found = shown(app, response.json["large_url"])
    assert (found.format, found.mode, found.size) == ("JPEG", "RGB", (300, 200))


def test_a_phones_jpeg_with_further_pictures_becomes_a_jpeg(app, student, put):
    data = encoded(picture(300, 200), "MPO", save_all=True, append_images=[picture(30, 20)])
    assert Image.open(io.BytesIO(data)).format == "MPO"

    response = put(student(), data)

    assert shown(app, response.json["large_url"]).size == (300, 200)


def test_what_is_transparent_becomes_white(app, student, put):
    response = put(student(), encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG"))

    assert shown(app, response.json["large_url"]).getpixel((25, 25)) == (255, 255, 255)


UNFIT = {
    "PDF": (b"%PDF-1.7 no picture", "photo_not_an_image"),
    "GIF": (encoded(picture(50, 50), "GIF"), "photo_not_an_image"),
    "TIFF": (encoded(picture(50, 50), "TIFF"), "photo_not_an_image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "photo_not_an_image"),
    "truncated JPEG": (encoded(picture())[:-2000], "photo_damaged"),
    "truncated PNG": (encoded(picture(), "PNG")[:-800], "photo_damaged"),
    "truncated WebP": (encoded(picture(), "WEBP")[:-100], "photo_damaged"),
    "PNG without pixels": (png(10, 10), "photo_damaged"),
    "PNG one row too large": (png(4_001, 4_000), "photo_too_many_pixels"),
    "bomb": (png(65_000, 65_000), "photo_too_many_pixels"),
    "larger bomb": (png(2_000_000_000, 2_000_000_000), "photo_too_many_pixels"),
    "too large": (encoded(picture(50, 50)) + bytes(photos.MOST_BYTES), "photo_too_large"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_each_unfit_file_is_refused_with_a_code_of_its_own_and_stores_nothing(api, app, tenant, student, put, what):
    made, (data, code) = student(), UNFIT[what]

    response = put(made, data)

    assert (response.status, response.problem["code"], response.pointers) == (422, code, {"/image"})
    assert stored(app, tenant) == []
    assert api.get(f"/api/students/{made['id']}/").json["photo_id"] is None


def test_a_body_that_is_not_base64_is_refused(api, student):
    response = api.put(f"/api/students/{student()['id']}/photo/", {"image": "===="})

    assert (response.status, response.problem["code"], response.pointers) == (422, "not_base64", {"/image"})


def test_an_image_with_too_many_pixels_is_not_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(Image.Image, "load", lambda image: decoded.append(image.size))

    for width, height in ((4_001, 4_000), (65_000, 65_000)):
        with pytest.raises(photos.TooManyPixels):
            photos.rendered(png(width, height))

    assert decoded == []


def test_a_replaced_and_a_deleted_photo_are_removed_by_a_job_after_the_commit(api, app, tenant, student, put):
    made = student()
    first = put(made, encoded(picture())).json
    second = put(made, encoded(picture(40, 40))).json
    assert len(stored(app, tenant)) == 4

    assert run_pending(app, tenant.id, "students.remove_photo") == [Outcome.DONE]
    assert {name[:36] for name in stored(app, tenant)} == {second["photo_id"]}
    assert Client(app).get(first["small_url"]).status == 410

    assert api.delete(f"/api/students/{made['id']}/photo/").status == 204
    assert len(stored(app, tenant)) == 2
    assert run_pending(app, tenant.id, "students.remove_photo") == [Outcome.DONE]
    assert stored(app, tenant) == []
    assert api.get(f"/api/students/{made['id']}/photo/").json == {
        **dict.fromkeys(("photo_id", "small_url", "large_url", "expires_at")),
        "student_id": made["id"],
    }
    assert Client(app).get(second["small_url"]).status == 410


def test_a_refused_change_keeps_the_photo_and_leaves_no_file(app, tenant, student, put):
    made = student()
    first = put(made, encoded(picture())).json

    assert put(made, encoded(picture()), headers={"If-Match": '"1-x"'}).status == 412
    assert put({"id": str(new_id())}, encoded(picture())).status == 404

    assert {name[:36] for name in stored(app, tenant)} == {first["photo_id"]}
    assert shown(app, first["small_url"]).size == (128, 85)


def test_files_are_encrypted_and_open_only_as_what_they_are(app, tenant, student, put):
    response = put(student(), encoded(picture())).json
    storage = app.extensions["campshub"].storage
    small, large = (f"{tenant.id}/photos/{response['photo_id']}-{size}" for size in ("small", "large"))
    with storage.open_read(small) as file:
        assert b"JFIF" not in file.read()

    storage.move(large, small)

    assert Client(app).get(response["small_url"]).status == 410


def test_a_link_works_only_for_those_who_may_see_the_student(api, app, tenant, other, student, put):
    made, login = student(), tenant.someone(Role.GUARDIAN)
    link = {
        "guardians": [{"guardian_id": api.made("/api/guardians/", {"name": "A", "user_id": str(login.user_id)})["id"]}]
    }
    put(made, encoded(picture()))
    url = f"/api/students/{made['id']}/"
    assert login.get(f"{url}photo/").status == 404
    api.put(f"{url}guardians/", link)
    small = login.get(f"{url}photo/").json["small_url"]
    assert Client(app).get(small).status == 200

    another = student()["id"]
    assert Client(app).get(small.replace(made["id"], another)).status == 404
    assert Client(app).get(small[:-3]).status == 404
    assert other.the(Role.ADMIN).get(f"{url}photo/").status == 404
    api.put(f"{url}guardians/", {"guardians": []})
    assert Client(app).get(small).status == 404


def test_a_link_expires(app, tenant, student, put):
    made = student()
    photo_id = UUID(put(made, encoded(picture())).json["photo_id"])
    services, ago = app.extensions["campshub"], datetime.now(UTC) - timedelta(minutes=1)
    user_id = tenant.the(Role.ADMIN).user_id
    link = service.PhotoLink(tenant.id, user_id, UUID(made["id"]), photo_id, "small", ago)

    response = Client(app).get(link.url(services))

    assert (response.status, response.problem["code"]) == (410, "link_expired")


def test_the_sweep_removes_old_files_that_no_student_names(app, tenant, student, put):
    kept = put(student(), encoded(picture())).json["photo_id"]
    services, lost = app.extensions["campshub"], new_id()
    service._store(services, tenant.id, lost, {"small": b"x", "large": b"x"})

    def swept(now):
        with app.app_context():
            service.sweep_orphans(services, now)
        return {name[:36] for name in stored(app, tenant)}

    now = datetime.now(UTC)
    assert swept(now) == {kept, str(lost)}
    assert swept(now + service.ORPHAN_AGE + timedelta(minutes=1)) == {kept}
