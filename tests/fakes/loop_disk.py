"""A disk of its own for a test: ext4 in a file that lies on a tmpfs, whose power can be cut and whose blocks can fail.

Cutting the power is the file system's own emergency stop: from that moment nothing reaches the disk, and after the
next mount there is what had reached it before. What was written and not synced is gone, as after a real power cut.

Blocks fail when the tmpfs is smaller than the disk that it carries, and full: then what the system writes back in its
own time has nowhere to go, long after `write` said that all was well. More room heals it. The loop device of Linux
takes a request for done of which it could carry out a part; so it is given requests of one block, which has no parts.

All mounts are in a mount namespace that lives as long as the process that holds it, and this lives as long as the
test process; the loop device frees itself with its last mount. So nothing stays behind, however the tests end.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final

from tests.fakes.tools import needs

_SHUTDOWN: Final = 0x8004587D
"""``EXT4_IOC_SHUTDOWN`` of Linux."""
_WITHOUT_FLUSH: Final = struct.pack("I", 2)

_MEBIBYTE: Final = 1024 * 1024
_BLOCK_BYTES: Final = 4096
_TOOLS: Final = ("unshare", "nsenter", "setpriv", "mount", "umount", "mkfs.ext4")


class LoopDisk:
    """A mounted disk. Who is to see it must be started with the words of `before` in front.

    Attributes:
        mounted: where it is mounted, for processes inside.
        folder: the same for the tests, as long as the disk is mounted.
        before: words in front of a command that is to run inside; it dies with the tests.
    """

    def __init__(
        self, folder: Path, *, mebibytes: int, room_mebibytes: int | None = None, journal: bool = True
    ) -> None:
        """Make it and mount it; skips or fails the test where that is not possible.

        Args:
            folder: where the mount points are made.
            mebibytes: size of the disk.
            room_mebibytes: size of what carries it; None: enough.
            journal: of the file system, which stops it when a block fails that it needs itself.
        """
        missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
        needs(os.geteuid() == 0 and not missing, f"root and {', '.join(missing) or 'nothing else'}, for a disk")
        carrier, self.mounted = folder / "carrier", folder / "disk"
        for place in (carrier, self.mounted):
            place.mkdir()
        self._carrier, self._image, self._handle = carrier, carrier / "image", -1
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        needs(self._holder.stdout.readline() == b"\n", "the right to make a mount namespace")
        self.before = ("setpriv", "--pdeathsig", "KILL", "nsenter", "-t", f"{self._holder.pid}", "-m", "--")
        self.folder = self._seen(self.mounted)
        self._honest = room_mebibytes is not None
        try:
            room = room_mebibytes or mebibytes + 16
            self._inside("mount", "-t", "tmpfs", "-o", f"size={room}m", "tmpfs", str(carrier))
            with self._seen(self._image).open("wb") as image:
                image.truncate(mebibytes * _MEBIBYTE)
            features = () if journal else ("-O", "^has_journal")
            self._inside("mkfs.ext4", "-q", "-F", "-b", f"{_BLOCK_BYTES}", *features, str(self._image))
            self.mount()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LoopDisk":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def mount(self) -> None:
        """Mount it; the file system does what it does after a power cut."""
        self._inside("mount", "-o", "loop", str(self._image), str(self.mounted))
        self._handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        if self._honest:
            device = os.fstat(self._handle).st_dev
            queue = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue")
            (queue / "max_sectors_kb").write_text(f"{_BLOCK_BYTES // 1024}")

    def cut(self) -> None:
        """Cut its power: from now on nothing reaches it, and every attempt fails."""
        fcntl.ioctl(self._handle, _SHUTDOWN, _WITHOUT_FLUSH)

    def unmount(self) -> None:
        """Take it away. Nobody may use it any more; what the system had cached of it is forgotten."""
        os.close(self._handle)
        self._handle = -1
        self._inside("umount", str(self.mounted))

    def give_room(self, mebibytes: int) -> None:
        """Let what carries the disk be so large."""
        self._inside("mount", "-o", f"remount,size={mebibytes}m", str(self._carrier))

    def close(self) -> None:
        """End it. Processes inside must have ended."""
        if self._handle >= 0:
            os.close(self._handle)
        self._holder.kill()
        self._holder.communicate()

    def _inside(self, *command: str) -> None:
        done = subprocess.run([*self.before, *command], capture_output=True, text=True)
        needs(done.returncode == 0, f"what `{' '.join(command)}` needs: {done.stderr.strip()}")

    def _seen(self, path: Path) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{path}")
