#!/usr/bin/env python3
# Makes unicode.json: checksums over all code points of what Python's unicodedata and str say, for the functions of
# engine/text/unicode.h. Run it with the Python that made the tables (Debian 12's, Unicode 14.0.0).
import json
import pathlib
import unicodedata


def fnv(parts):
    h = 0xCBF29CE484222325
    for part in parts:
        for byte in part.encode():
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return format(h, "016x")


def main():
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    category = {c: unicodedata.category(c) for c in points}
    marks = [c for c in points if unicodedata.combining(c)][::7]
    out = {
        "version": unicodedata.unidata_version,
        "letters": fnv("1" if category[c][0] == "L" else "0" for c in points),
        "numbers": fnv("1" if category[c][0] == "N" else "0" for c in points),
        "python_space": fnv("1" if c.isspace() else "0" for c in points),
        "printable": fnv("1" if c.isprintable() else "0" for c in points),
        "upper": fnv(c.upper() for c in points),
        "lower": fnv(c.lower() for c in points),
        "nfc_single": fnv(unicodedata.normalize("NFC", c) for c in points),
        "marks": "".join(marks),
        "nfc_marks": fnv(unicodedata.normalize("NFC", base + a + b) for base in "aq\u1100\uac00" for a in marks for b in marks),
    }
    (pathlib.Path(__file__).resolve().parent / "unicode.json").write_text(json.dumps(out, indent=1) + "\n")


main()
