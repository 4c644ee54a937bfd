"""Which system calls a confined program may make, as a program of BPF. The launcher sets it (`_launcher.py`).

Landlock judges what is opened. What it leaves open is closed here: sockets, other processes, the kernel's own affairs, and
what is done to a file by its name alone, without opening it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

Step = tuple[int, int, int, int]  # operation, steps to skip where it is so, and where not, operand

SELF = 0xFFFFFFFF  # in place of the program's own process id, which the launcher knows
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_REFUSE, _UNKNOWN = (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ERRNO | _ENOSYS)
_ALLOWED = (_RETURN, 0, 0, _ALLOW)
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # where a call's data has its number and its arguments
_OTHER_WAY = 0x40000000  # from this number on: x86 called the way of x32

# By machine: its architecture, and the column of its numbers below. None: it has no such call.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
Numbers = tuple[int | None, int | None]

_REFUSED: Sequence[Numbers] = (
    # socket, socketpair, connect, bind, listen, accept, accept4, sendto, sendmsg, sendmmsg
    (41, 198), (53, 199), (42, 203), (49, 200), (50, 201), (43, 202), (288, 242), (44, 206), (46, 211), (307, 269),
    # io_uring_setup, io_uring_enter, io_uring_register
    (425, 425), (426, 426), (427, 427),
    # ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_send_signal, pidfd_open, pidfd_getfd, process_madvise,
    # process_mrelease, tkill, move_pages, migrate_pages
    (101, 117), (310, 270), (311, 271), (312, 272), (424, 424), (434, 434), (438, 438), (440, 440), (448, 448), (200, 130),
    (279, 239), (256, 238),
    # setpriority, ioprio_set, sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr: of whomever
    (141, 140), (251, 30), (142, 118), (144, 119), (203, 122), (314, 274),
    # setpgid, setsid: it stays in the group that is ended
    (109, 154), (112, 157),
    # unshare, setns, mount, umount2, pivot_root, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, chroot
    (272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (428, 428), (429, 429), (430, 430), (431, 431), (432, 432),
    (433, 433), (442, 442), (161, 51),
    # bpf, userfaultfd, perf_event_open, add_key, request_key, keyctl, open_by_handle_at, name_to_handle_at, kexec_load,
    # init_module, finit_module, delete_module, swapon, reboot
    (321, 280), (323, 282), (298, 241), (248, 217), (249, 218), (250, 219), (304, 265), (303, 264), (246, 104), (175, 105),
    (313, 273), (176, 106), (167, 224), (169, 142),
    # chmod, fchmod, fchmodat, fchmodat2, chown, fchown, lchown, fchownat, utime, utimes, futimesat, truncate
    (90, None), (91, 52), (268, 53), (452, 452), (92, None), (93, 55), (94, None), (260, 54), (132, None), (235, None),
    (261, None), (76, 45),
    # setxattr, lsetxattr, fsetxattr, removexattr, lremovexattr, fremovexattr, setxattrat, removexattrat, file_setattr
    (188, 5), (189, 6), (190, 7), (197, 14), (198, 15), (199, 16), (463, 463), (466, 466), (469, 469),
    # inotify_init, inotify_init1, fanotify_init
    (253, None), (294, 26), (300, 262),
    # shmget, shmat, shmctl, semget, semop, semctl, semtimedop, msgget, msgsnd, msgrcv, msgctl, mq_open, mq_unlink: memory
    # that outlives the program or is another's; memfd_create, memfd_secret: memory that no limit counts
    (29, 194), (30, 196), (31, 195), (64, 190), (65, 193), (66, 191), (220, 192), (68, 186), (69, 189), (70, 188), (71, 187),
    (240, 180), (241, 181), (319, 279), (447, 447),
)  # fmt: skip
# kill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, prlimit64: of itself (0 is that too, or its group)
_OF_ITSELF: Sequence[Numbers] = ((62, 129), (234, 131), (129, 138), (297, 240), (302, 261))
_UTIMENSAT: Numbers = (280, 88)
_FCNTL: Numbers = (72, 25)
_SET_OWNER = (8, 15)  # of a file's signals: F_SETOWN, F_SETOWN_EX
_FORKS: Sequence[Numbers] = ((57, None), (58, None))  # fork, vfork
_CLONE: Numbers = (56, 220)
_CLONE3 = 435
_NAMESPACES, _THREAD = 0x7E020000, 0x00010000  # flags of clone


def known(machine: str) -> bool:
    """Whether its calls are known by number."""
    return machine in _MACHINES


def call_filter(machine: str, *, children: bool) -> Sequence[Step]:
    """The filter for a machine that is known; `children`: whether the program may start others."""
    architecture, column = _MACHINES[machine]

    def numbers(calls: Sequence[Numbers]) -> Iterator[int]:
        return (number for call in calls if (number := call[column]) is not None)

    program: list[Step] = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), _REFUSE]
    program += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _OTHER_WAY), _REFUSE]
    program += [(_EQUAL, 0, 1, _CLONE3), _UNKNOWN]  # no filter sees its flags: clone is called instead
    for number in numbers([*_REFUSED, *(() if children else _FORKS)]):
        program += [(_EQUAL, 0, 1, number), _REFUSE]
    for number in numbers(_OF_ITSELF):
        program += _when(number, [(_LOAD, 0, 0, _FIRST), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, SELF), _REFUSE])
    for number in numbers([_UTIMENSAT]):  # of an open file: without a name, whose pointer has two halves
        program += _when(
            number,
            [(_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, _SECOND + 4), (_EQUAL, 1, 0, 0), _REFUSE],
        )
    for number in numbers([_FCNTL]):
        owner, other = _SET_OWNER
        program += _when(number, [(_LOAD, 0, 0, _SECOND), (_EQUAL, 1, 0, owner), (_EQUAL, 0, 1, other), _REFUSE])
    for number in numbers([_CLONE]):
        thread: list[Step] = [] if children else [(_ANY_OF, 1, 0, _THREAD), _REFUSE]
        program += _when(number, [(_LOAD, 0, 0, _FIRST), *thread, (_ANY_OF, 0, 1, _NAMESPACES), _REFUSE])
    return [*program, _ALLOWED]


def encoded(program: Sequence[Step]) -> bytes:
    """The filter as the kernel takes it."""
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def _when(number: int, judged: Sequence[Step]) -> list[Step]:
    """Judge the arguments of one call: allowed where the steps come to their end."""
    return [(_EQUAL, 0, len(judged) + 1, number), *judged, _ALLOWED]
