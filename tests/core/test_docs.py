"""The OpenAPI document and its page are compressed, and not sent again to clients that have them."""

import gzip

import pytest

from tests.conftest import Client

FILES = (
    "/api/openapi.json", "/docs/", "/docs/start.js", "/docs/page.css", "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
)  # fmt: skip


@pytest.fixture
def reader(app):
    return Client(app)


@pytest.mark.parametrize("url", FILES)
def test_a_file_is_compressed_for_clients_that_accept_gzip(reader, url):
    plain = reader.get(url)
    compressed = reader.get(url, headers={"Accept-Encoding": "br, gzip;q=0.8"})

    assert "Content-Encoding" not in plain.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(compressed.raw.data) == plain.raw.data
    for response in (plain, compressed):
        assert response.headers["Vary"] == "Accept-Encoding, Origin"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["Content-Length"] == str(len(response.raw.data))
    for refusal in ("identity", "gzip;q=0", "br"):
        assert "Content-Encoding" not in reader.get(url, headers={"Accept-Encoding": refusal}).headers


@pytest.mark.parametrize("url", [*FILES, "/docs/favicon-32x32.png"])
def test_a_file_that_the_client_has_is_not_sent_again(reader, url):
    for accepted in ("identity", "gzip"):
        first = reader.get(url, headers={"Accept-Encoding": accepted})
        again = reader.get(url, headers={"Accept-Encoding": accepted, "If-None-Match": first.headers["ETag"]})
        other = reader.get(url, headers={"Accept-Encoding": accepted, "If-None-Match": '"another"'})

        assert (again.status, again.raw.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert other.status == 200


def test_the_compressed_and_the_plain_bytes_have_different_tags(reader):
    tags = {
        reader.get("/api/openapi.json", headers={"Accept-Encoding": accepted}).headers["ETag"]
        for accepted in ("identity", "gzip")
    }

    assert len(tags) == 2


def test_unknown_files_are_not_found(reader):
    for name in ("nothing", "index.html", "swagger-ui.js"):
        assert reader.get(f"/docs/{name}").problem["code"] == "not_found"
