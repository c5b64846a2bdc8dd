"""Photos: an uploaded image becomes JPEGs of fixed sizes, upright and without its metadata.

Only the header of the image is read before its format and its number of pixels are known to be acceptable.
"""

import io
import struct
from http import HTTPStatus

from PIL import Image, ImageOps, UnidentifiedImageError

from campshub.core.errors import Problem

# The sides of the squares into which the sizes fit, in pixels.
SIZES = {"small": 128, "large": 512}
MOST_BYTES = 5 * 1024 * 1024
MEDIA_TYPE = "image/jpeg"
_FORMATS = ("JPEG", "PNG", "WEBP")
# JPEG is decoded at a reduced size, the others as a whole. MPO is a JPEG with further pictures, as phones make it.
MOST_PIXELS = {"JPEG": 50_000_000, "MPO": 50_000_000, "PNG": 16_000_000, "WEBP": 16_000_000}
_QUALITY = 85
_DAMAGE = (OSError, EOFError, IndexError, SyntaxError, ValueError, struct.error)


class UnfitPhoto(Problem):
    """The image cannot be a photo."""

    default_detail = "The image cannot be a photo."
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    pointer = "/image"


class NotAnImage(UnfitPhoto):
    """The file is not a JPEG, PNG or WebP image."""

    code = "photo_not_an_image"
    default_detail = "The file is not a JPEG, PNG or WebP image."


class TooManyBytes(UnfitPhoto):
    """The file is larger than 5 MiB."""

    code = "photo_too_large"
    default_detail = "The file is larger than 5 MiB."


class TooManyPixels(UnfitPhoto):
    """The image has more pixels than are decoded."""

    code = "photo_too_many_pixels"
    default_detail = "The image has too many pixels: a JPEG may have 50 million, a PNG or WebP image 16 million."


class DamagedImage(UnfitPhoto):
    """The image is damaged or incomplete."""

    code = "photo_damaged"
    default_detail = "The image is damaged or incomplete."


def rendered(data: bytes) -> dict[str, bytes]:
    """Return the image as a JPEG of each size.

    :raises TooManyBytes: the file is too large.
    :raises NotAnImage: it is not an image of an accepted format.
    :raises TooManyPixels: the image has too many pixels; it was not decoded.
    :raises DamagedImage: the image cannot be decoded.
    """
    if len(data) > MOST_BYTES:
        raise TooManyBytes
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        too_many = isinstance(error, Image.DecompressionBombError)
        raise (TooManyPixels if too_many else NotAnImage) from error
    except _DAMAGE as error:
        raise DamagedImage from error
    if image.width * image.height > MOST_PIXELS[image.format or ""]:
        raise TooManyPixels
    try:
        return _sizes(image)
    except _DAMAGE as error:
        raise DamagedImage from error


def _sizes(image: Image.Image) -> dict[str, bytes]:
    largest = max(SIZES.values())
    image.draft("RGB", (largest, largest))  # for JPEG; the size stays at least this
    # Palettes and other modes cannot be scaled. The orientation stays with the scaled image.
    whole: Image.Image = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA")
    upright = _opaque(ImageOps.exif_transpose(_within(whole, largest)))
    found = {}
    for name, side in SIZES.items():
        written = io.BytesIO()
        _within(upright, side).save(written, "JPEG", quality=_QUALITY, optimize=True)
        found[name] = written.getvalue()
    return found


def _within(image: Image.Image, side: int) -> Image.Image:
    """Return an image that fits into a square; a smaller one stays as it is."""
    return ImageOps.contain(image, (side, side), Image.Resampling.LANCZOS) if max(image.size) > side else image


def _opaque(image: Image.Image) -> Image.Image:
    """Return a new image in RGB, without metadata and with a white background where the image is transparent."""
    if image.mode == "RGBA" or "transparency" in image.info:
        layer = image.convert("RGBA")
        plain = Image.new("RGB", image.size, "white")
        plain.paste(layer, mask=layer.getchannel("A"))
        return plain
    plain = image.convert("RGB")
    fresh = Image.new("RGB", plain.size)
    fresh.paste(plain)
    return fresh
