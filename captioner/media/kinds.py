"""The kinds of files by extension: what is listed, and what looks like media but cannot be read."""

from importlib.util import find_spec

from captioner.values import MediaKind

VIDEO_EXTENSIONS = (
    "mp4", "avi", "mov", "mkv", "webm", "flv", "wmv", "m4v", "mpeg", "mpg", "ts", "mts", "m2ts", "m2t", "3gp", "3g2",
    "ogv", "ogm", "vob", "mxf", "mpe", "m1v", "m2v", "divx", "f4v", "qt", "asf", "dv", "nut", "y4m", "ivf", "rm",
    "rmvb",
)  # fmt: skip
JXL_DECODER = "pillow_jxl"
IMAGE_EXTENSIONS = (
    "jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "avif", "jpe", "jfif", "apng", "avifs", "heic", "heif",
    "hif", "jp2", "j2k", "jpx", "jpf", "jpc", "j2c", "ppm", "pgm", "pbm", "pnm", "tga", "mpo",
)  # fmt: skip
KINDS: dict[str, MediaKind] = {  # by extension
    **dict.fromkeys(VIDEO_EXTENSIONS, "video"),
    **dict.fromkeys(IMAGE_EXTENSIONS, "image"),
    **({"jxl": "image"} if find_spec(JXL_DECODER) else {}),
}

INSTALL_JXL = "pip install pillow-jxl-plugin"
_UNREADABLE = {
    "camera raw": "cr2 cr3 crw nef nrw arw srf sr2 dng raf orf rw2 pef srw x3f 3fr iiq erf kdc mrw r3d braw",
    "image editor": "psd psb xcf kra",
    "vector graphics": "svg svgz ai eps",
    "Flash": "swf",
    "convert them to PNG": "exr hdr dds qoi dpx pcx sgi icns heics bpg flif",
    "convert them to MP4": "wtv mkv3d amv bik",
    "a list of addresses": "m3u8 mpd",
    "unfinished download": "part crdownload",
    INSTALL_JXL: "" if find_spec(JXL_DECODER) else "jxl",
}
UNREADABLE = {extension: why for why, names in _UNREADABLE.items() for extension in names.split()}
