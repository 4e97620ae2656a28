"""Verify an export of memops' audit trail: python verify_export.py EXPORT [--anchor FILE] [--key PUBLIC_KEY]

Plain Python 3.11, nothing else. Ends with 0 if the chain holds, 1 if it does not, 2 if a file cannot be read.
FILE is an earlier export, a file of anchors, or the manifest of a backup. docs/audit.md of memops defines what is
hashed and what is signed.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

FIELDS = ("actor", "action", "object_type", "object_id", "run", "target", "details", "request_id", "address")
EVERY = frozenset((*FIELDS, "sequence", "previous", "at", "hash"))
START = "0" * 64
NEAR = 1000
"""How far from its place an event is looked for, to call it reordered."""


class Unreadable(Exception):
    """The file is not what it should be."""


@dataclass(frozen=True)
class Anchor:
    """A head of the chain that was written down elsewhere."""

    sequence: int
    hash: str
    at: str = ""
    key: str = ""
    signature: str = ""

    @classmethod
    def from_json(cls, text: str | dict[str, Any]) -> Anchor:
        """Raises Unreadable."""
        try:
            found = json.loads(text) if isinstance(text, str) else text
            head = found["head"]
            return cls(
                int(head["sequence"]), str(head["hash"]), *(str(found[name]) for name in ("at", "key", "signature"))
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unreadable("it holds no head of an audit trail") from error

    def is_signed_with(self, key: str) -> bool:
        """``key`` is the public key, in base64."""
        try:
            signature, public = (base64.b64decode(text, validate=True) for text in (self.signature, key))
        except (binascii.Error, ValueError):
            return False
        return is_signature(public, signature, signed_form(self.sequence, self.hash, self.at))


@dataclass(frozen=True)
class Verdict:
    """``wrong`` is empty if the chain holds; otherwise ``sequence`` is the first event that does not."""

    sequence: int
    hash: str
    kind: str = ""
    wrong: str = ""


def netstrings(*fields: str) -> bytes:
    """Every field as ``length:bytes,``: two different lists never give the same bytes."""
    encoded = [field.encode() for field in fields]
    return b"".join(b"%d:%s," % (len(field), field) for field in encoded)


def canonical(event: dict[str, str], *, sequence: int | None = None) -> bytes:
    """The bytes of an event that are hashed."""
    place = str(sequence) if sequence is not None else event["sequence"]
    return netstrings("memops-audit-1", place, event["previous"], event["at"], *(event[name] for name in FIELDS))


def digest(event: dict[str, str], *, sequence: int | None = None) -> str:
    return hashlib.sha256(canonical(event, sequence=sequence)).hexdigest()


def signed_form(sequence: int, hash_: str, at: str) -> bytes:
    """The bytes of a head that are signed."""
    return netstrings("memops-head-1", str(sequence), hash_, at)


def verify(
    events: Iterable[dict[str, str]], anchors: Iterable[Anchor] = (), *, after: tuple[int, str] = (0, START)
) -> Verdict:
    """Follow the chain from the event ``after`` on; every anchor beyond that has to be in it."""
    sequence, previous = after
    seen = {anchor.sequence: anchor.hash for anchor in anchors if anchor.sequence > sequence}
    last = max(seen, default=0)
    for event in events:
        found = int(event["sequence"])
        expected = sequence + 1
        if found < expected:
            return Verdict(found, previous, "forked", f"number {found} is there twice")
        if digest(event) != event["hash"]:
            near = range(max(1, found - NEAR), found + NEAR)
            was = next((place for place in near if digest(event, sequence=place) == event["hash"]), None)
            if was is not None:
                return Verdict(found, previous, "reordered", f"it was written as number {was}")
            return Verdict(found, previous, "edited", "its hash is not that of its content")
        if found > expected:
            return Verdict(expected, previous, "deleted", f"after number {sequence} comes number {found}")
        if event["previous"] != previous:
            return Verdict(found, previous, "rewritten", f"it does not follow from number {sequence}")
        if seen.get(found, event["hash"]) != event["hash"]:
            return Verdict(found, previous, "rewritten", "it is not the event that an anchor has seen")
        sequence, previous = found, event["hash"]
    if last > sequence:
        wrong = f"an anchor has seen number {last}, and the chain ends with number {sequence}"
        return Verdict(sequence + 1, previous, "tail cut", wrong)
    return Verdict(sequence, previous)


def anchors_of(file: str) -> list[Anchor]:
    """The heads in an export (its last line), a file of anchors (every line) or a manifest. Raises Unreadable."""
    found, is_whole = [], True
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number == 0 and line.strip() == "{":
                    return [Anchor.from_json(json.loads(line + lines.read())["facts"]["audit"])]
                is_whole = line.endswith("\n")
                entry = json.loads(line) if line.strip() else {}
                if "head" in entry:
                    found.append(Anchor.from_json(entry))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreadable(f"it cannot be read ({type(error).__name__})") from error
    if not found or not is_whole:
        raise Unreadable("its end is missing" if found else "it holds no head of an audit trail")
    return found


def read(file: str) -> Iterator[dict[str, str]]:
    """The events of an export. Raises Unreadable."""
    head = None
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if head is not None:
                    raise Unreadable(f"line {number} comes after the head")
                entry = json.loads(line)
                if isinstance(entry, dict) and "head" in entry:
                    head = Anchor.from_json(entry)
                    continue
                if not isinstance(entry, dict) or entry.keys() != EVERY:
                    raise Unreadable(f"line {number} is not an event")
                if not all(isinstance(value, str) for value in entry.values()) or not entry["sequence"].isdecimal():
                    raise Unreadable(f"line {number} is not an event")
                yield entry
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"it cannot be read ({type(error).__name__})") from error
    if head is None:
        raise Unreadable("it has no head: it did not come to its end")


# Ed25519, the verifying half alone (RFC 8032, section 5.1.7): an auditor's machine may have nothing but Python.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]


def _recovered(encoded: bytes) -> Point | None:
    """The point that 32 bytes stand for (5.1.3), in extended coordinates."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def _sum(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(factor: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            result = _sum(result, point)
        point, factor = _sum(point, point), factor >> 1
    return result


def is_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Did the holder of this public key sign the message?"""
    if len(public) != 32 or len(signature) != 64:
        return False
    base = _recovered((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    key, r = _recovered(public), _recovered(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if base is None or key is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = _times(s, base), _sum(r, _times(k, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify an export of memops' audit trail.")
    parser.add_argument("export")
    parser.add_argument("--anchor", metavar="FILE", action="append", default=[], help="kept elsewhere: see above")
    parser.add_argument("--key", metavar="BASE64", help="the public key: manage.py memops audit key prints it")
    options = parser.parse_args()
    try:
        own = anchors_of(options.export)[-1]
        anchors = [anchor for file in options.anchor for anchor in anchors_of(file)]
        verdict = verify(read(options.export), anchors)
    except Unreadable as error:
        sys.stderr.write(f"Not verified: {error}.\n")
        return 2
    if not verdict.wrong and (own.sequence, own.hash) != (verdict.sequence, verdict.hash):
        verdict = Verdict(verdict.sequence + 1, verdict.hash, "tail cut", f"the export's head is number {own.sequence}")
    if not verdict.wrong:
        for anchor in (*anchors, own):
            if options.key and not anchor.is_signed_with(options.key):
                verdict = Verdict(anchor.sequence, verdict.hash, "not signed", "an anchor's signature is not the key's")
    if verdict.wrong:
        sys.stdout.write(f"WRONG at number {verdict.sequence}, {verdict.kind}: {verdict.wrong}.\n")
        return 1
    sys.stdout.write(f"The chain holds: {verdict.sequence} events, head {verdict.hash}.\n")
    if not options.key:
        sys.stdout.write("Without --key nobody can see who signed its head.\n")
    if not anchors:
        sys.stdout.write("Without --anchor nobody can see whether the end was cut off or everything rewritten.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
