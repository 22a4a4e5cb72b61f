"""Archives that `cfn-init` unpacks: members that lead elsewhere, that swell, that are damaged."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from agent.apply import cfn_sources
from tests.hostile.judge import Broken, Door
from tests.hostile.material import damaged

NAMES = (
    *("a", "d/a", "../x", "/abs", "d/../../x", "a\0b", "", ".", "..", "d//a", "é" * 200, "x" * 300, "link/x", "a\nb"),
    *("./" * 200 + "a", "d/" * 300 + "a", "\\..\\x", "~root/x", "C:/x"),
)
TARGETS = ("a", "../outside", "/etc", "..", "d", "link", "", "../" * 50, "d/../..", "\0")
KINDS = (
    *(tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE),
    *(tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, b"Z"),
)
MODES = (0o644, 0o7777, 0, 0o100644, -1)
BOMB = 80 << 20  # more than the child may write


@dataclass(frozen=True)
class Entry:
    name: str
    kind: bytes
    target: str
    mode: int
    data: bytes


entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from(NAMES),
        st.sampled_from(KINDS),
        st.sampled_from(TARGETS),
        st.sampled_from(MODES),
        st.sampled_from((b"", b"x" * 100)),
    ),
    max_size=5,
)


def tar(members: list[Entry], suffix: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=f"w:{suffix}", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name.replace("\0", "\x01"))
            info.type, info.linkname, info.mode = member.kind, member.target.replace("\0", "\x01"), member.mode & 0o7777
            info.size = len(member.data) if member.kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(member.data))
    return made.getvalue()


def zipped(members: list[Entry]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name)
            link = member.kind == tarfile.SYMTYPE
            info.external_attr = ((0o120777 if link else member.mode & 0o7777) << 16) & 0xFFFFFFFF
            archive.writestr(info, member.target.encode() if link else member.data)
    return made.getvalue()


def bombs() -> tuple[bytes, ...]:
    """A few kilobytes that would fill a disk."""
    swollen = io.BytesIO()
    with zipfile.ZipFile(swollen, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(BOMB))
    many = [Entry(f"d{number}/a", tarfile.REGTYPE, "", 0o644, b"") for number in range(300)]
    return swollen.getvalue(), tar([Entry("b", tarfile.REGTYPE, "", 0o644, bytes(BOMB))], "gz"), tar(many, "")


FINE = [Entry("d/a", tarfile.REGTYPE, "", 0o644, b"x"), Entry("l", tarfile.SYMTYPE, "d/a", 0o777, b"")]
GOOD = (tar(FINE, "gz"), tar(FINE, "xz"), tar(FINE, "bz2"), tar(FINE, ""), zipped(FINE), *bombs())


def unpack(data: bytes, scratch: Path) -> None:
    """Whatever comes of it, nothing outside of the directory changes."""
    archive, inside, canary = scratch / "archive", scratch / "below/inside", scratch / "outside"
    archive.write_bytes(data)
    canary.write_text("as it was")
    try:
        cfn_sources.extract(archive, "http://cloud.invalid/x.tar.gz", inside)
    finally:
        found = {str(path.relative_to(scratch)) for path in scratch.rglob("*")} if scratch.exists() else set()
        outside = {name for name in found if not name.startswith("below/inside/")}
        if outside - {"archive", "outside", "below", "below/inside"} or canary.read_text() != "as it was":
            raise Broken(f"it left its directory: {sorted(outside)}")


DOORS = (
    Door("tar", st.builds(tar, entries, st.sampled_from(("", "gz", "xz"))), unpack),
    Door("zip", st.builds(zipped, entries.filter(lambda members: all("\0" not in m.name for m in members))), unpack),
    Door("damaged archive", damaged(GOOD) | st.sampled_from(GOOD), unpack),
)
