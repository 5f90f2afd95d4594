"""seccomp: a small hand-made BPF program that refuses system calls no decoder needs.

Everything refused answers EPERM (clone3: ENOSYS, so that libc falls back to clone, whose flags can be read). Numbers
are from asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64); elsewhere `available` is false.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct

from rushes.media.jail import libc

_MODE_FILTER = 2
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN, _JUMP_AT_LEAST = 0x20, 0x15, 0x45, 0x06, 0x35
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); None where that machine has no such call.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "prlimit64": (302, 261),
    "socket": (41, 198),
    "tgkill": (234, 131),
}
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "fanotify_init": (300, 262),
    # shared state outside the files
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # large or rarely needed parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "personality": (135, 92),
    "ioperm": (173, None),
    "iopl": (172, None),
    "modify_ldt": (154, None),
    # the machine itself
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
}


def available() -> bool:
    """Whether this machine's system calls are known and its kernel takes filters."""
    try:
        libc.prctl(libc.PR_SET_SECCOMP, _MODE_FILTER, None)
    except OSError as error:
        return error.errno == errno.EFAULT and platform.machine() in _AUDIT
    return False


def confine(*, network: bool, programs: bool) -> None:
    """Install the filter for this process and all it starts. `network` leaves AF_INET sockets, `programs` leaves
    execve.

    Needs no_new_privs. Starting processes is refused (threads are not), and signals reach only the process itself.
    """
    code = b"".join(_program(network=network, programs=programs))
    instructions = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions))
    libc.prctl(libc.PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(header))


def _program(*, network: bool, programs: bool) -> list[bytes]:
    machine = platform.machine()
    column = ("x86_64", "aarch64").index(machine)
    refuse = _ERRNO | errno.EPERM
    program = [_do(_LOAD, _ARCH), _do(_JUMP_EQUAL, _AUDIT[machine], 1, 0), _do(_RETURN, _KILL), _do(_LOAD, _NR)]
    if machine == "x86_64":
        program += [_do(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _do(_RETURN, refuse)]
    refused = [numbers[column] for numbers in _REFUSED.values()]
    if not programs:
        refused += [_NUMBERS["execve"][column], _NUMBERS["execveat"][column]]
    for number in refused:
        if number is not None:
            program += [_do(_JUMP_EQUAL, number, 0, 1), _do(_RETURN, refuse)]
    special = {name: numbers[column] or 0 for name, numbers in _NUMBERS.items()}
    program += [_do(_JUMP_EQUAL, special["clone3"], 0, 1), _do(_RETURN, _ERRNO | errno.ENOSYS)]
    program += _unless_argument(special["clone"], _JUMP_SET, _CLONE_THREAD, refuse)
    program += _unless_argument(special["tgkill"], _JUMP_EQUAL, os.getpid(), refuse)
    program += _unless_argument(special["prlimit64"], _JUMP_EQUAL, 0, refuse)
    if network:
        program += _unless_argument(special["socket"], _JUMP_EQUAL, int(socket.AF_INET), refuse)
    else:
        program += [_do(_JUMP_EQUAL, special["socket"], 0, 1), _do(_RETURN, refuse)]
    return [*program, _do(_RETURN, _ALLOW)]


def _unless_argument(number: int, comparison: int, value: int, refuse: int) -> list[bytes]:
    """Refuse the call unless its first argument compares; its low 32 bits, which come first, hold every value used."""
    return [
        _do(_JUMP_EQUAL, number, 0, 4),
        _do(_LOAD, _FIRST_ARGUMENT),
        _do(comparison, value, 1, 0),
        _do(_RETURN, refuse),
        _do(_LOAD, _NR),
    ]


def _do(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
