"""Colors of pictures: ICC profiles, compared with LittleCMS at full size, and the color tags of AVIF and PNG."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from captioner.media.sample import sample
from captioner.media.thumbnail import make_thumbnail
from captioner.values import MediaItem, SamplePlan
from tests.conftest import SHARED_CASES
from tests.media.test_deep import make_png
from tests.support.color_reference import TO_BT709, shown

PATCHES = np.array([[20, 20, 20], [120, 120, 120], [200, 60, 60], [60, 180, 60], [50, 70, 200], [220, 200, 90]])
SOFT = 128 + (PATCHES - 128) // 2  # no color that a screen cannot show
IGNORED = "its color profile is damaged or does not fit, and was ignored"
needs_cases = pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="the shared cases are not here")


def icc_profile(gamma: float, primaries: list[list[float]] | None = None) -> bytes:
    """Build an ICC profile of version 2: gray with that gamma, or RGB with D50 columns (3, 3) of XYZ."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"a\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"cprt": b"text" + bytes(4) + b"a\0"}
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip(b"rgb", np.array(primaries).T, strict=True):
            tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, column))
            tags[bytes([letter]) + b"TRC"] = curve
    place, table, data = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", place + len(data), len(content))
        data += padded
    size = place + len(data)
    space = b"RGB " if primaries else b"GRAY"
    head = struct.pack(">II", size, 0) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    head += bytes(28) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


# XYZ of the primaries for D50: Adobe RGB (1998), ProPhoto, Display P3.
ADOBE = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
PROPHOTO = [[0.79767, 0.13519, 0.03134], [0.28804, 0.71188, 0.00009], [0.0, 0.0, 0.82491]]
P3 = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
D50_TO_SRGB = [[3.13394, -1.61686, -0.49063], [-0.97877, 1.91614, 0.03345], [0.07194, -0.22899, 1.40522]]


def to_srgb(values: np.ndarray, gamma: float, primaries: list[list[float]]) -> np.ndarray:
    """Return levels (n, 3) of sRGB, computed in float64."""
    light = np.clip((values / 255) ** gamma @ np.array(primaries).T @ np.array(D50_TO_SRGB).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def save(path: Path, colors: np.ndarray = PATCHES, mode: str = "RGB", **options: object) -> Path:
    """Save a row of patches of 64 pixels."""
    picture = Image.fromarray(np.repeat(np.tile(colors.astype(np.uint8), (64, 1, 1)), 64, axis=1))
    lossless = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}, ".avif": {"quality": 100}}
    converted = picture.quantize(16) if mode == "P" else picture.convert(mode)
    converted.save(path, **lossless.get(path.suffix, {}), **options)
    return path


def middles(path: Path) -> np.ndarray:
    """Return (n, 3): the color in the middle of each patch of a sample, which is that of the thumbnail, too."""
    pixels = sample(path, SamplePlan(frame_size=384)).pixels[0].astype(int)
    item = MediaItem(path.parent, path.name, path.name, "image", path.stat().st_size, 0.0, "a.txt", False)
    small = np.asarray(Image.open(io.BytesIO(make_thumbnail(item).data)).convert("RGB"), dtype=int)
    both = [each[each.shape[0] // 2, (np.arange(6) * 2 + 1) * each.shape[1] // 12] for each in (pixels, small)]
    np.testing.assert_allclose(*both, atol=16)  # a JPEG
    return both[0]


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize(("gamma", "primaries"), [(2.2, ADOBE), (1.8, PROPHOTO), (2.2, P3)])
def test_rgb_profiles_are_converted_to_srgb(tmp_path, extension, gamma, primaries):
    path = save(tmp_path / f"a.{extension}", SOFT, icc_profile=icc_profile(gamma, primaries))
    np.testing.assert_allclose(
        middles(path), to_srgb(SOFT, gamma, primaries), atol=12 if extension in ("jpg", "avif") else 6
    )
    assert sample(path, SamplePlan()).warning == ""


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA"])
def test_alpha_palettes_and_gray_are_converted_too(tmp_path, mode):
    is_gray = mode in ("L", "LA")
    colors = np.repeat(PATCHES[:, :1], 3, axis=1) if is_gray else SOFT
    profile = icc_profile(1.0) if is_gray else icc_profile(1.8, PROPHOTO)
    path = save(tmp_path / "a.png", colors, mode, icc_profile=profile)
    expected = to_srgb(colors, 1.0, P3) if is_gray else to_srgb(colors, 1.8, PROPHOTO)
    np.testing.assert_allclose(middles(path), expected, atol=6)


def test_gray_pixels_may_have_a_profile_of_rgb(tmp_path):
    colors = np.repeat(PATCHES[:, :1], 3, axis=1)
    path = save(tmp_path / "a.jpg", colors, "L", icc_profile=icc_profile(1.8, PROPHOTO))
    np.testing.assert_allclose(middles(path), to_srgb(colors, 1.8, PROPHOTO), atol=6)


@pytest.mark.parametrize("profile", [b"junk", b"\0" * 500, icc_profile(2.2), icc_profile(1.8, PROPHOTO)[:150]])
def test_a_broken_or_wrong_profile_is_ignored_with_a_note(tmp_path, profile):
    path = save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_allclose(middles(path), PATCHES, atol=1)
    assert sample(path, SamplePlan()).warning == IGNORED


def test_a_profile_of_srgb_changes_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain, tagged = save(tmp_path / "a.png"), save(tmp_path / "b.png", icc_profile=srgb)
    np.testing.assert_array_equal(sample(plain, SamplePlan()).pixels, sample(tagged, SamplePlan()).pixels)


def test_lab_is_converted_without_a_profile(tmp_path):
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    row = Image.fromarray(np.repeat(np.tile(PATCHES.astype(np.uint8), (64, 1, 1)), 64, axis=1))
    ImageCms.applyTransform(row, lab).save(tmp_path / "a.tif")
    np.testing.assert_allclose(middles(tmp_path / "a.tif"), PATCHES, atol=8)


def add_chunk(path: Path, name: bytes, data: bytes) -> None:
    """Insert a chunk after the header of a PNG."""
    whole = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(whole[:33] + chunk + whole[33:])


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (12, 16)])
def test_png_with_coding_independent_code_points_is_hdr(tmp_path, primaries, transfer):
    path = save(tmp_path / "a.png", PATCHES * 0.55)
    add_chunk(path, b"cICP", bytes([primaries, transfer, 0, 1]))
    light = (shown((PATCHES * 0.55).astype(np.uint8) / 255, primaries, transfer) / 255) ** 2.4
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(middles(path), expected, atol=6)


def test_png_gamma_and_chromaticities_are_applied_as_in_browsers(tmp_path):
    path = save(tmp_path / "a.png")
    add_chunk(path, b"gAMA", struct.pack(">I", 100000))
    np.testing.assert_allclose(middles(path), to_srgb(PATCHES, 1.0, np.linalg.inv(D50_TO_SRGB).tolist()), atol=2)
    add_chunk(path, b"sRGB", b"\0")
    np.testing.assert_array_equal(middles(path), PATCHES)
    wide = save(tmp_path / "b.png")
    points = [0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060]
    add_chunk(wide, b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in points)))
    light = np.where(PATCHES / 255 <= 0.04045, PATCHES / 255 / 12.92, ((PATCHES / 255 + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.array(TO_BT709[12]).T, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(middles(wide), expected, atol=2)


@pytest.mark.parametrize("values", [[1] * 8, [0] * 8, [2**31 - 1] * 8])
def test_absurd_chromaticities_are_harmless(tmp_path, values):
    path = save(tmp_path / "a.png")
    add_chunk(path, b"cHRM", struct.pack(">8I", *values))
    assert sample(path, SamplePlan()).pixels.shape[3] == 3


@needs_cases
@pytest.mark.parametrize(("name", "right"), [("display-p3", ".expected-srgb"), ("cmyk", "-cmyk.expected")])
def test_the_cases_have_their_right_colors(name, right):
    pixels = sample(SHARED_CASES / f"icc-{name}.jpg", SamplePlan(frame_size=512)).pixels[0].astype(int)
    with Image.open(SHARED_CASES / f"icc{right}.png") as picture:
        expected = np.asarray(picture.convert("RGB").resize(pixels.shape[1::-1]), dtype=int)
    centers = (np.arange(8) * 2 + 1) * pixels.shape[1] // 16
    middle = pixels.shape[0] // 2
    assert np.abs(pixels - expected)[middle, centers].max() <= 6


@needs_cases
def test_the_hdr_avif_looks_like_its_twin():
    pixels, twin = (
        sample(SHARED_CASES / name, SamplePlan(frame_size=192)).pixels[0].astype(int)
        for name in ("avif-hdr-pq-rec2020.avif", "avif-hdr.expected-sdr.avif")
    )
    off = np.abs(pixels - twin).max(axis=-1)  # the twin was not made from it
    assert off.mean() < 6
    assert np.mean(off <= 12) > 0.999


def test_hdr_stills_keep_all_their_bits(tmp_path):
    """Of 8 bits, PQ leaves 40 levels for the dark ones here, which are 32 to 64 nits."""
    levels = np.linspace(0.36, 0.43, 512)
    path = make_png(tmp_path / "a.png", np.broadcast_to((levels * 65535)[None, :, None], (64, 512, 3)))
    add_chunk(path, b"cICP", bytes([9, 16, 0, 1]))
    row = sample(path, SamplePlan(frame_size=512)).pixels[0, 16].astype(int)
    assert len(np.unique(row[:, 1])) == row[-1, 1] - row[0, 1] + 1  # no level of the result is left out
