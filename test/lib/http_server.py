#!/usr/bin/env python3
"""An HTTP server for tests that does as its paths say and writes each request down before it answers.

http_server.py FOLDER [OPTION=VALUE...] listens on a port of 127.0.0.1 that it writes to FOLDER/port; each whole
request becomes a line of JSON in FOLDER/ledger, each connection a + in FOLDER/connections, and its end a -. The path, or a word "do-..." in the body, tells what follows:

    status/CODE[/JSON]   that status, with that body        hole     no answer
    close  reset         the connection ends without one    endless  headers without end
    big                  64 MB of body                      slow     an octet every second
    redirect             302 to another path of itself      drop     like close, at the second request of a connection
    nul                  200, NUL and octets of no text
    anything else        200 {"id": "n"}

Options: cert, key (TLS), port, life.
"""
import asyncio
import json
import os
import re
import socket
import ssl
import struct
import sys
import urllib.parse

folder = sys.argv[1]
options = dict(argument.split("=", 1) for argument in sys.argv[2:])
ledger = os.open(os.path.join(folder, "ledger"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
connections = os.open(os.path.join(folder, "connections"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def abort(writer):
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def request(reader, writer, number):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, path, _ = head.split("\r\n")[0].split(" ")
    headers = {name.lower(): value.strip() for name, value in
               (line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)}
    body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
    record = {"method": method, "path": path, "headers": headers, "body": body, "number": number}
    os.write(ledger, (json.dumps(record) + "\n").encode())
    told = re.search(r"do-([a-z]+(?:/\d+)?)", body)
    words = (told.group(1) if told else path[1:]).split("/", 2)

    async def say(status, text, more=""):
        data = text.encode()
        writer.write(f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nX-Message-Id: id-{number}\r\n"
                     f"{more}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()

    if words[0] == "status":
        await say(words[1], urllib.parse.unquote(words[2]) if len(words) > 2 else "{}")
    elif words[0] == "hole":
        await reader.read()
        return False
    elif words[0] == "close" or (words[0] == "drop" and number > 1):
        return False
    elif words[0] == "reset":
        abort(writer)
        return False
    elif words[0] == "endless":
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()
    elif words[0] == "big":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        for _ in range(1024):
            writer.write(b"x" * 65536)
            await writer.drain()
    elif words[0] == "nul":
        data = b"x\0" + b"\xff" * 39998
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
    elif words[0] == "slow":
        for octet in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(1)
    elif words[0] == "redirect":
        await say(302, "{}", "Location: /status/200\r\n")
    else:
        await say(200, json.dumps({"id": f"n{number}"}))
    return True


async def serve(reader, writer):
    number = 1
    os.write(connections, b"+")
    try:
        while await request(reader, writer, number):
            number += 1
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        pass
    finally:
        os.write(connections, b"-")
        try:
            writer.close()
        except Exception:
            pass


async def main():
    context = None
    if "cert" in options:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["cert"], options["key"])
    server = await asyncio.start_server(serve, "127.0.0.1", int(options.get("port", 0)), ssl=context, limit=1 << 24)
    port = server.sockets[0].getsockname()[1]
    with open(os.path.join(folder, "port.new"), "w") as file:
        file.write(str(port))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    await asyncio.sleep(float(options.get("life", 600)))


asyncio.run(main())
