"""Schemas of photos of students."""

from campshub.core.http.schemas import fields

# A PNG of 8 x 8 pixels.
EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8UaHBgA0wMeAAg1MCAB4nAXgllso1AAAAAElFTkSuQmCC"
# In base64, 5 MiB are 7 million characters; one that is a little larger gets a problem of its own.
_MOST_CHARACTERS = 7_800_000


class PhotoIn(fields.In):
    """A photo of a student."""

    example = fields.Example(image=EXAMPLE)

    image = fields.Text(
        required=True,
        least=1,
        most=_MOST_CHARACTERS,
        metadata={
            "contentEncoding": "base64",
            "description": "A JPEG, PNG or WebP image of at most 5 MiB, in base64 (RFC 4648, section 4).",
        },
    )


class PhotoOut(fields.Out):
    """The links to a student's photo, null without a photo; a client with a link needs no token until it expires."""

    student_id = fields.Id(required=True)
    photo_id = fields.Id(required=True, allow_none=True)
    small_url = fields.Text(required=True, allow_none=True, metadata={"description": "It fits into 128 x 128 pixels."})
    large_url = fields.Text(required=True, allow_none=True, metadata={"description": "It fits into 512 x 512 pixels."})
    expires_at = fields.Instant(required=True, allow_none=True)


class PhotoToken(fields.Filter):
    """The token of a link."""

    token = fields.Text(required=True, most=600, least=1)
