"""Many megabytes of text for tokenizers, from what lies on the machine: documents of about 16 KiB, shuffled, none of them
twice. The same machine gives the same bytes; another one has other packages, so figures say little across machines.

  30 %  English prose: documentation and licences (/usr/share/doc, pods), a paragraph once
  30 %  code: Python's library, C and C++ headers
  26 %  translations (gettext) in every language that is installed: Latin, Cyrillic, Greek, Arabic, Hebrew, Indic scripts,
        Chinese, Japanese, Korean and others
  10 %  numbers: tables, JSON, hexadecimal, base64, dates
   4 %  what is rare: random code points, runs of one character, white space of all kinds, emoji, combining marks

Usage: tokenizer_corpus.py MEGABYTES FILE     Writes for each document its bytes' number (32 bits, little-endian), and them.
"""

import base64
import gettext
import json
import pathlib
import random
import struct
import sys
import sysconfig

DOCUMENT_BYTES = 16 << 10
SHARES = {"prose": 30, "code": 30, "translations": 26, "numbers": 10, "rare": 4}


def read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def files_below(folders, suffixes):
    for folder in folders:
        yield from sorted(path for path in pathlib.Path(folder).rglob("*")
                          if path.suffix in suffixes and path.is_file() and not path.is_symlink())


def prose():
    known = set()
    for path in files_below(["/usr/share/common-licenses", "/usr/share/doc", "/usr/share/perl"], {"", ".txt", ".md", ".pod", ".rst"}):
        for paragraph in read_text(path).split("\n\n"):
            if len(paragraph) > 80 and paragraph not in known:
                known.add(paragraph)
                yield paragraph + "\n\n"


def code():
    known = set()
    for path in files_below([sysconfig.get_path("stdlib"), "/usr/include"], {".py", ".h", ".hpp"}):
        text = read_text(path)
        if text and text not in known:
            known.add(text)
            yield text


def messages(path):
    try:
        with open(path, "rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog
    except (OSError, IndexError, UnicodeDecodeError, ValueError):
        return ""
    return "".join(text + "\n" for key, text in sorted(catalog.items(), key=str) if key and isinstance(text, str))


def translations():
    """A file of each language in turn, so that none is left out."""
    folders = sorted(path for path in pathlib.Path("/usr/share/locale").iterdir() if path.is_dir())
    files = [list(files_below([folder], {".mo"})) for folder in folders]
    for i in range(max(map(len, files), default=0)):
        for of_language in files:
            if i < len(of_language):
                yield messages(of_language[i])


def numbers(generator):
    while True:
        rows = range(generator.randint(5, 40))
        yield "".join(f"{generator.random():.6f}\t{generator.randint(-10**9, 10**9)}\t{generator.gauss(0, 1):+.3e}\n" for _ in rows)
        yield json.dumps([{"id": generator.randint(0, 10**6), "at": f"20{row:02}-{row % 12 + 1:02}-05T{row % 24:02}:15:00Z",
                           "values": [generator.randint(0, 999) for _ in range(6)]} for row in rows], indent=row_indent(generator)) + "\n"
        noise = generator.randbytes(generator.randint(20, 400))
        yield noise.hex() + "\n" + base64.b64encode(noise).decode() + "\n"


def row_indent(generator):
    return generator.choice([None, 2, 4])


def rare(generator):
    spaces = " \t\n\r\u00a0\u2003\u2028\u3000\u000b\u000c\u0085"
    emoji = "🙂😀👩‍🚀🇩🇪👍🏽❤️🎉"
    marks = "e\u0301 a\u0328\u0301 \u1100\u1161\u11a8 \u0915\u094d\u0937 \u0e01\u0e33 "
    while True:
        yield "".join(chr(generator.choice([generator.randint(32, 0x7e), generator.randint(0xa0, 0x2fff),
                                            generator.randint(0x3000, 0xd7ff), generator.randint(0xe000, 0x1ffff)]))
                      for _ in range(generator.randint(10, 200)))
        yield generator.choice("a=-_.*#/\\0 é中🙂") * generator.randint(2, 300)
        yield "".join(generator.choice(spaces) for _ in range(generator.randint(1, 30)))
        yield "".join(generator.choice(emoji) for _ in range(generator.randint(1, 20)))
        yield "".join(generator.choice(marks) for _ in range(generator.randint(1, 60)))
        yield "".join(generator.choice("don't I'LL we've 'S'sſ'tx ▁▁ <b></b> <|im_start|>") for _ in range(60))


def documents_of(pieces, num_bytes):
    """Of the pieces, one after another, until so many bytes are there."""
    made, left, text = [], num_bytes, bytearray()
    for piece in pieces:
        text += piece.encode("utf-8", "surrogatepass")
        while len(text) >= DOCUMENT_BYTES and left > 0:
            end = DOCUMENT_BYTES
            while text[end - 1] & 0x80:  # not inside a character
                end -= 1
                if end == DOCUMENT_BYTES // 2:
                    break
            while end < len(text) and text[end] & 0xc0 == 0x80:
                end += 1
            made.append(bytes(text[:end]))
            left -= end
            del text[:end]
        if left <= 0:
            return made
    return made


def make_documents(num_bytes):
    generator = random.Random(20)
    sources = {"prose": prose(), "code": code(), "translations": translations(), "numbers": numbers(generator),
               "rare": rare(generator)}
    documents = []
    for name, share in SHARES.items():
        made = documents_of(sources[name], num_bytes * share // 100)
        print(f"tokenizer_corpus: {name} {sum(map(len, made)) / 1e6:.1f} MB", file=sys.stderr)
        documents += made
    generator.shuffle(documents)
    return documents


def write_documents(path, documents):
    with open(path, "wb") as out:
        for document in documents:
            out.write(struct.pack("<I", len(document)) + document)


def read_documents(path):
    data, documents, at = pathlib.Path(path).read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        documents.append(data[at + 4:at + 4 + size])
        at += 4 + size
    return documents


if __name__ == "__main__":
    write_documents(sys.argv[2], make_documents(int(sys.argv[1]) * 1_000_000))
