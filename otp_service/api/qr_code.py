"""The QR code of an otpauth:// URI, as an inline SVG.

It takes about 20 ms of CPU for a usual URI, so handlers render it in a thread (`asyncio.to_thread`).
"""

import io

import segno


PIXELS_PER_MODULE = 4
"""A usual URI has 57 modules with the border: 228 pixels. The `viewBox` lets a page scale it."""

BORDER_MODULES = 4
"""The quiet zone of ISO/IEC 18004 §6.3.8."""


def render_qr_svg(uri: str) -> str:
    """Return the QR code of `uri` as one <svg> element, without script, style or XML declaration.

    It is dark on light with its own background, because many apps do not read inverted codes, and a
    page may be dark. Error level M corrects 15 %. A URI that is too long for it (a name of 64
    emoji at a brand of 64) has level L, 7 %.
    """
    try:
        code = segno.make_qr(uri, error="m")
    except segno.DataOverflowError:
        code = segno.make_qr(uri, error="l")
    target = io.BytesIO()
    code.save(
        target,
        kind="svg",
        border=BORDER_MODULES,
        dark="#000",
        light="#fff",
        xmldecl=False,
        omitsize=True,
        svgclass=None,
        lineclass=None,
        nl=False,
    )
    size = PIXELS_PER_MODULE * code.symbol_size(border=BORDER_MODULES)[0]
    return target.getvalue().decode().replace("<svg ", f'<svg width="{size}" height="{size}" ', 1)
