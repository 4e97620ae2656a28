"""Full disks and missing rights, without filling a disk or asking who runs the tests: limits that the kernel keeps."""

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from memops.console import children
from project import embedded

_libc = ctypes.CDLL(None)


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file of this process, or of one that it starts, can grow beyond that, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit_server(pid: int, size_bytes: int | None) -> None:
    """The same for a process of the embedded server, and for those that it starts from now on; None for no limit."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if os.geteuid() == 0:  # Root's server is another account's, and only that one may limit it everywhere.
                account = embedded._server_user()
                os.setgroups([])
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
            most = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most if size_bytes is None else size_bytes, most))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, f"The limit of process {pid} could not be set"


@contextmanager
def permissions_count() -> Iterator[None]:
    """Permissions hold for this thread even where root runs the tests: its files are then the embedded server's
    account's, whose socket it may use."""
    if os.geteuid() != 0:
        yield
        return
    # The thread that starts programs has to be there before: it would inherit what is only meant for this one.
    with children.start(["true"], env=os.environ) as child:
        child.wait()
    account = embedded._server_user()
    gid, uid = _libc.setfsgid(account.pw_gid), _libc.setfsuid(account.pw_uid)
    try:
        yield
    finally:
        _libc.setfsuid(uid)
        _libc.setfsgid(gid)


def give_to_whom_permissions_hold(path: object) -> None:
    """Make a path that account's, as it would be if nobody were root."""
    if os.geteuid() == 0:
        account = embedded._server_user()
        os.chown(str(path), account.pw_uid, account.pw_gid)
