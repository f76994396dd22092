"""Read a QR code from its SVG: a small rasterizer, and the decoder of ZXing."""

import re
from xml.etree import ElementTree as ET

import zxingcpp


SVG = "{http://www.w3.org/2000/svg}"
PIXELS_PER_MODULE = 4


def read_qr_svg(svg: str) -> str:
    """Return the text of the one QR code in the SVG, as ZXing reads it."""
    # Of this format alone: the rows of a large code may look like a linear barcode, too.
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    (code,) = zxingcpp.read_barcodes(_rasterize(svg), formats=formats)
    return str(code.text)


def _rasterize(svg: str) -> memoryview:
    """Return the picture in shades of gray: a light rectangle, and dark runs of single rows."""
    root = ET.fromstring(svg)  # noqa: S314  # made by the service
    modules = int(root.attrib["viewBox"].split()[2])
    light, dark = root.findall(f"{SVG}path")
    assert ("#fff", f"M0 0h{modules}v{modules}h-{modules}z") == (light.get("fill"), light.get("d"))
    assert "#000" == dark.get("stroke")
    size = modules * PIXELS_PER_MODULE
    pixels = bytearray(b"\xff" * size * size)
    for x, y, length in _list_runs(dark.attrib["d"]):
        for row in range(y * PIXELS_PER_MODULE, (y + 1) * PIXELS_PER_MODULE):
            start = row * size + x * PIXELS_PER_MODULE
            width = length * PIXELS_PER_MODULE
            pixels[start : start + width] = bytes(width)
    return memoryview(pixels).cast("B", (size, size))


def _list_runs(path: str) -> list[tuple[int, int, int]]:
    """Return column, row and length of each line of a path of M, m and h; a line is one row high."""
    runs, x, y = [], 0.0, 0.0
    for command, arguments in re.findall(r"([Mmh])([^Mmh]*)", path):
        numbers = [float(number) for number in arguments.split()]
        if command == "h":
            runs.append((int(x), int(y), int(numbers[0])))
            x += numbers[0]
        else:
            x, y = numbers if command == "M" else (x + numbers[0], y + numbers[1])
    return runs
