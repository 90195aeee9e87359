"""The colors that a screen shows for color tags, computed in float64 apart from the product."""

import av
import numpy as np

# From linear RGB with these primaries to BT.709 (ITU-R BT.2087, and SMPTE EG 432-1 with white D65).
TO_BT709 = {
    9: [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]],
    12: [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]],
}
WHITE = 203


def shown(rgb: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """Return gray levels 0 to 255 for coded values (..., 3) from 0 to 1."""
    if transfer == 16:
        root = rgb ** (1 / 78.84375)
        light = (
            10000 / WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        )
    elif transfer == 18:
        scene = np.where(rgb <= 0.5, rgb * rgb / 3, (np.exp((rgb - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        light = 1000 / WHITE * scene**1.2
    else:
        light = rgb**2.4
    light = np.einsum("ij,...j->...i", np.array(TO_BT709[primaries]), light)
    brightest = light.max(axis=-1, keepdims=True)
    share = (brightest > 1).mean()
    if transfer in (16, 18) and share > 0.2:
        top = 1 + min(1, (share - 0.2) / 0.2) * (np.quantile(brightest, 0.999) - 1)
        over = np.maximum(brightest, 0)
        even = np.clip((share - 0.6) / 0.2, 0, 1)
        light = light * ((1 - even) * (1 + over / top**2) / (1 + over) + even / top)
    return 255 * np.clip(light, 0, 1) ** (1 / 2.4)


def matrix_of(frame: av.VideoFrame) -> int | None:
    """Return the matrix to convert a frame by, where FFmpeg's guess is not that of players."""
    is_hd = frame.width >= 1280 or frame.height >= 720
    return 1 if frame.colorspace == 2 and is_hd and not frame.format.is_rgb else None


def is_converted(frame: av.VideoFrame) -> bool:
    """Return True if the frame is HDR or has a wide gamut."""
    return frame.colorspace == 9


def code_values(frame: av.VideoFrame, width: int, height: int, interpolation: int) -> np.ndarray:
    """Return RGB from 0 to 1 of a frame with limited range. FFmpeg's white has 8 bits, whatever the format."""
    small = frame.reformat(width, height, "gbrp16le", interpolation=interpolation, threads=1).to_ndarray()
    return small / (255 * 256)
