#!/usr/bin/env python3
"""A connection that breaks after so many octets, between the delivery worker and a test's server.

fault_proxy.py FOLDER target=PORT cut=in|out first=N step=N listens on a port of 127.0.0.1 that it writes to FOLDER/port.
The n-th connection hands on first + n * step octets from the client (in) or to it (out) and
is then reset on both sides; each becomes a line in FOLDER/cuts: its octets, and whether it was cut.
Options: port, life.
"""
import asyncio
import os
import socket
import struct
import sys

folder = sys.argv[1]
options = dict(argument.split("=", 1) for argument in sys.argv[2:])
cuts = open(os.path.join(folder, "cuts"), "a", buffering=1)
count = 0


def reset(writer):
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hand_on(reader, writer, left):
    """True if the limit was reached before the end; left None: no limit."""
    while left is None or left > 0:
        data = await reader.read(65536 if left is None else min(left, 65536))
        if not data:
            return False
        writer.write(data)
        await writer.drain()
        if left is not None:
            left -= len(data)
    # What was handed on is to be seen before the reset throws it away.
    await asyncio.sleep(0.002)
    return True


async def serve(reader, writer):
    global count
    octets = int(options.get("first", 0)) + count * int(options.get("step", 1))
    count += 1
    cut = False
    try:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", int(options["target"]))
    except OSError:
        return reset(writer)
    tasks = [asyncio.ensure_future(hand_on(reader, server_writer, octets if options["cut"] == "in" else None)),
             asyncio.ensure_future(hand_on(server_reader, writer, octets if options["cut"] == "out" else None))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        cut = any(not task.exception() and task.result() for task in done)
    finally:
        cuts.write(f"{octets} {'cut' if cut else 'whole'}\n")
        for task in tasks:
            task.cancel()
        reset(writer)
        if cut:
            reset(server_writer)
        else:
            server_writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(options.get("port", 0)), backlog=200)
    port = server.sockets[0].getsockname()[1]
    with open(os.path.join(folder, "port.new"), "w") as file:
        file.write(str(port))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    await asyncio.sleep(float(options.get("life", 600)))


asyncio.run(main())
