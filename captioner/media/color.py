"""Colors: the conversion of HDR and of wide gamuts to those of a screen.

Colors are known by the code points of ITU-T H.273, which FFmpeg, MP4, Matroska, AVIF and PNG share.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

UNSPECIFIED = 2
BT709, BT2020, DCI_P3, DISPLAY_P3 = 1, 9, 11, 12  # primaries
LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18  # transfer functions

Chromaticities = tuple[tuple[float, float], ...]  # (x, y) of red, green, blue and white
D65 = (0.3127, 0.3290)
PRIMARIES: dict[int, Chromaticities] = {  # the wide ones of H.273, table 2; the others are close to BT.709
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    DCI_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
}

LEVELS = 4096  # 12 bits, the depth that PQ was made for
WHITE_NITS = 203.0  # HDR reference white (ITU-R BT.2408, table 1)
HLG_PEAK_NITS = 1000.0  # nominal peak of an HLG display, with a system gamma of 1.2 (ITU-R BT.2100, table 5)
FEW_BRIGHT, MANY_BRIGHT, MOST_BRIGHT = 0.2, 0.4, 0.8  # shares of pixels brighter than white; see _dim_bright

Curve = Callable[[np.ndarray], np.ndarray]


def _gamma(exponent: float) -> tuple[Curve, Curve]:
    return lambda value: value**exponent, lambda light: light ** (1 / exponent)


def _srgb_to_linear(value: np.ndarray) -> np.ndarray:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _linear_to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _pq_to_linear(value: np.ndarray) -> np.ndarray:
    """Return multiples of WHITE_NITS (SMPTE ST 2084: the EOTF)."""
    root = value ** (4096 / (2523 * 128))
    light = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
    return 10_000 / WHITE_NITS * light ** (16384 / 2610)


def _hlg_to_linear(value: np.ndarray) -> np.ndarray:
    """Return multiples of WHITE_NITS on a display of HLG_PEAK_NITS (ARIB STD-B67: the inverse OETF, then the OOTF).

    The OOTF is applied to each channel, as zscale does, instead of to the luminance (ITU-R BT.2100, table 5).
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return HLG_PEAK_NITS / WHITE_NITS * scene**1.2


BT1886 = _gamma(2.4)  # the screen of players, for every curve not named here
SRGB_CURVES = (_srgb_to_linear, _linear_to_srgb)
SDR_CURVES = {4: _gamma(2.2), 5: _gamma(2.8), SRGB: SRGB_CURVES}
OTHER_CURVES: dict[int, Curve] = {LINEAR: lambda value: value, PQ: _pq_to_linear, HLG: _hlg_to_linear}


@dataclass(frozen=True)
class Conversion:
    """A conversion of RGB to BT.709 or sRGB, whose primaries are the same."""

    to_linear: np.ndarray  # float32 (LEVELS,), the light of each level; 1 is white
    matrix: np.ndarray  # float32 (3, 3), from linear RGB to linear BT.709
    to_level: np.ndarray  # uint8 (LEVELS,), by the square root of the light, which leaves more entries for the dark
    is_hdr: bool

    def __call__(self, levels: np.ndarray) -> np.ndarray:
        """Return uint8 (height, width, 3) for integers below LEVELS in the same shape."""
        light = self.to_linear.take(levels.reshape(-1, 3).T)  # (3, pixels)
        light = self.matrix @ light
        if self.is_hdr:
            _dim_bright(light)
        np.sqrt(np.clip(light, 0, 1, out=light), out=light)
        entries = (light * (LEVELS - 1) + 0.5).astype(np.uint16)
        return self.to_level.take(entries.T).reshape(levels.shape)


def _dim_bright(light: np.ndarray) -> None:
    """Compress light (3, pixels) in place, up to its peak, if many pixels are brighter than white.

    A few highlights become white, as with FFmpeg's zscale. More of them would take the clouds and the blue from a sky:
    those pictures are compressed with Chromium's curve, x (1 + x / peak^2) / (1 + x), the more the brighter they are.
    If nearly everything is brighter than white, the exposure is lowered instead.
    """
    largest = np.maximum(np.maximum(light[0], light[1]), light[2])
    share = np.count_nonzero(largest > 1) / largest.size
    if share <= FEW_BRIGHT:
        return
    strength = min(1.0, (share - FEW_BRIGHT) / (MANY_BRIGHT - FEW_BRIGHT))
    exposure = min(1.0, max(0.0, (share - MANY_BRIGHT) / (MOST_BRIGHT - MANY_BRIGHT) * 2 - 1))
    peak = 1 + strength * (float(np.quantile(largest[::4], 0.999)) - 1)
    np.maximum(largest, 0, out=largest)
    light *= (1 - exposure) * (1 + largest / peak**2) / (1 + largest) + exposure / peak


@functools.lru_cache(maxsize=64)
def tagged_conversion(primaries: int, transfer: int, white: int, is_still: bool = False) -> Conversion | None:
    """Return the conversion of pixels with these tags; None if they are shown as they are. white: its level.

    SDR keeps its curve. HDR gets that of a player's screen (BT.1886), or sRGB if it is a still.
    """
    gamut = PRIMARIES.get(primaries, PRIMARIES[BT709])
    if transfer in OTHER_CURVES:
        screen = SRGB_CURVES if is_still else BT1886
        return conversion(gamut, OTHER_CURVES[transfer], screen[1], white, transfer in (PQ, HLG))
    curves = SDR_CURVES.get(transfer, SRGB_CURVES if is_still else BT1886)
    return None if gamut == PRIMARIES[BT709] else conversion(gamut, *curves, white)


def conversion(
    gamut: Chromaticities, to_linear: Curve, from_linear: Curve, white: int, is_hdr: bool = False
) -> Conversion:
    """Return the conversion from this gamut and curve to BT.709 and another curve."""
    light = to_linear(np.arange(LEVELS) / white)
    shown = from_linear(np.linspace(0, 1, LEVELS) ** 2)
    to_bt709 = np.linalg.inv(_rgb_to_xyz(PRIMARIES[BT709])) @ _rgb_to_xyz(gamut)
    levels = np.rint(shown * 255).astype(np.uint8)
    return Conversion(light.astype(np.float32), to_bt709.astype(np.float32), levels, is_hdr)


def _rgb_to_xyz(gamut: Chromaticities) -> np.ndarray:
    """Return the matrix (3, 3) from linear RGB to XYZ, with white adapted to D65 by Bradford's method."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*gamut, D65)]).T
    white, d65 = columns[:, 3], columns[:, 4]
    to_xyz = columns[:, :3] * np.linalg.solve(columns[:, :3], white)
    to_cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    return np.linalg.solve(to_cones, np.diag(to_cones @ d65 / (to_cones @ white)) @ to_cones @ to_xyz)
