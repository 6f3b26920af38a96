"""Colour profiles (ICC.1:2001) written by hand: three primaries with one gamma, ink as a table, grey with a gamma."""

import struct

# Display P3 (SMPTE EG 432-1) adapted to D50: columns X Y Z of red, green and blue.
_DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
_D50 = (0.9642, 1.0, 0.8249)


def display_p3() -> bytes:
    """The colours of phone screens: wider than sRGB; gamma 2.2."""
    return _profile(
        b"RGB ",
        b"XYZ ",
        {
            b"rXYZ": _xyz(*_DISPLAY_P3[0]),
            b"gXYZ": _xyz(*_DISPLAY_P3[1]),
            b"bXYZ": _xyz(*_DISPLAY_P3[2]),
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(2.2)),
        },
    )


def grey(gamma: float) -> bytes:
    """Grey values with a gamma of their own; printing presses have a high one."""
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


# L*, a*, b* of paper and inks, as presses print them (roughly FOGRA39).
_PAPER = (95, 0, -2)
_INKS = ((55, -37, -50), (48, 74, -3), (89, -5, 93), (16, 0, 0))


def ink() -> bytes:
    """Cyan, magenta, yellow and black by a table of their 16 full overprints (tag A2B0, type lut8)."""
    nodes = bytearray()
    for number in range(16):
        lab = _PAPER
        for bit, colour in enumerate(_INKS):
            if number >> (3 - bit) & 1:
                lab = (lab[0] * colour[0] / 95, lab[1] * 0.5 + colour[1], lab[2] * 0.5 + colour[2])
        lightness, a, b = lab
        nodes += bytes([round(lightness * 2.55), max(0, min(255, round(a + 128))), max(0, min(255, round(b + 128)))])
    straight = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + straight * 4 + bytes(nodes) + straight * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table})


def _profile(space: bytes, connection: bytes, more: dict[bytes, bytes]) -> bytes:
    """A profile with these tags and those that every profile has."""
    text = b"By hand\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(79),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": _xyz(*_D50),
        **more,
    }
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    header = struct.pack(">I4xI4s4s4s", at + len(body), 0x02400000, kind, space, connection)
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(*_D50)[8:]
    return header.ljust(128, b"\0") + table + body


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)
