#!/usr/bin/env python3
"""A mail server for tests that does as it is told and writes each message down before it answers.

mail_server.py FOLDER [OPTION=VALUE...] listens on a port of 127.0.0.1 that it writes to FOLDER/port; each
message it accepts becomes a line of JSON in FOLDER/ledger, written before the reply to the dot
is sent, each command a line in FOLDER/commands, each connection a + in FOLDER/connections, and its end a -. It ends by itself after `life` seconds.

What it says instead of what it should is a directive: a reply (`451 4.3.0 later`), or one of
    hole     no answer at all                    close    the connection is closed
    reset    ... by RST                          endless  lines of a reply that never ends
    huge     a line of a megabyte                slow     an octet every second
    noise    something that is no reply    flood    a line without end, as fast as it goes
    held     the usual reply, once there is a file FOLDER/go
Directives stand in options banner, ehlo, starttls, auth, mail, rcpt, data, dot, or, for the stages that know a
recipient, in its local part: `dot-451-x@example.com`, `rcpt-close@...`; FOLDER/directives (JSON, by stage)
holds while it is there. body=N resets the connection when it has read N octets of a message.

Further options: tls=none|starttls|tls, cert, key, login=USER:PASSWORD, pipelining=no, delay=SECONDS before the
reply to the dot, messages=N a connection, life=SECONDS; strip=1 and no_auth=1 offer no STARTTLS and no login,
tls_max=1.1 knows no better TLS.
"""
import asyncio
import base64
import json
import os
import re
import socket
import ssl
import struct
import sys
import time

folder = sys.argv[1]
options = dict(argument.split("=", 1) for argument in sys.argv[2:])
ledger = os.open(os.path.join(folder, "ledger"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
connections = os.open(os.path.join(folder, "connections"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
commands = open(os.path.join(folder, "commands"), "a", buffering=1)
STAGES = ("banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "dot")


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options["cert"], options["key"])
    if options.get("tls_max") == "1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


class Ended(Exception):
    pass


class Session:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.tls = options.get("tls") == "tls"
        self.user = None
        self.rcpt = None
        self.carried = 0

    def directive(self, stage):
        if self.rcpt:
            local = self.rcpt.split("@")[0]
            match = re.match(r"([a-z]+)-([a-z0-9]+)", local)
            if match and match.group(1) == stage:
                word = match.group(2)
                return f"{word} {word[0]}.3.0 as told" if word.isdigit() else word
        try:
            with open(os.path.join(folder, "directives")) as file:
                told = json.load(file)
            if stage in told:
                return told[stage]
        except FileNotFoundError:
            pass
        return options.get(stage)

    async def say(self, text):
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    def abort(self):
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Ended()

    async def answer(self, stage, usual):
        """Says what is to be said; True if that is the usual thing."""
        told = self.directive(stage)
        if told is None:
            await self.say(usual)
            return True
        if told == "hole":
            while await self.reader.read(65536):
                pass
            raise Ended()
        if told == "close":
            raise Ended()
        if told == "reset":
            self.abort()
        if told == "endless":
            # Under TLS nothing tells that the client has gone.
            for _ in range(3000):
                await self.say("250-and so on")
            raise Ended()
        if told == "flood":
            while True:
                self.writer.write(b"x" * (1 << 20))
                await self.writer.drain()
        if told == "held":
            while not os.path.exists(os.path.join(folder, "go")):
                await asyncio.sleep(0.02)
            await self.say(usual)
            return True
        if told == "huge":
            self.writer.write(b"250-" + b"x" * (1 << 20))
            await self.say("")
        if told == "slow":
            for octet in (usual + "\r\n").encode():
                self.writer.write(bytes([octet]))
                await self.writer.drain()
                await asyncio.sleep(1)
            return True
        if told == "noise":
            await self.say("\x00\x01 what is this\x80")
            return False
        for line in told.split("|"):
            await self.say(line)
        return told[0] == usual[0]

    async def line(self):
        try:
            data = await self.reader.readline()
        except (asyncio.LimitOverrunError, ValueError):
            raise Ended()
        if not data.endswith(b"\n"):
            raise Ended()
        if not data.endswith(b"\r\n"):
            commands.write("BARE LF\n")
        text = data.rstrip(b"\r\n").decode("utf-8", "replace")
        return text

    async def login(self, text):
        if not (self.tls or options.get("tls") == "none"):
            return await self.say("538 5.7.11 encryption first")
        words = text.split()
        if len(words) < 3:
            await self.say("334 ")
            words.append(await self.line())
        given = base64.b64decode(words[2]).decode().split("\0")
        fits = words[1].upper() == "PLAIN" and ":".join(given[1:]) == options.get("login")
        if not await self.answer("auth", "235 2.7.0 welcome" if fits else "535 5.7.8 who are you") or not fits:
            return
        self.user = given[1]

    async def message(self):
        read = 0
        limit = int(options.get("body", 0))
        lines = []
        while True:
            data = await self.reader.readline()
            read += len(data)
            if limit and read > limit:
                self.abort()
            if not data:
                raise Ended()
            if data == b".\r\n":
                break
            lines.append(data[1:] if data.startswith(b".") else data)
        raw = b"".join(lines)
        key = re.search(rb"^X-MA-Key: (\S+)", raw, re.M)
        number = re.search(rb"^Message-ID:\s*(\S+)", raw, re.M | re.I)
        bad = b"\n" in raw.replace(b"\r\n", b"") or b"\r" in raw.replace(b"\r\n", b"")
        record = {"rcpt": self.rcpt, "from": self.sender, "key": key and key.group(1).decode(),
                  "id": number and number.group(1).decode(), "tls": self.tls, "user": self.user,
                  "bare": bad, "octets": len(raw), "connection": id(self), "at": time.time()}
        return record, raw

    def write_down(self, record, raw):
        os.write(ledger, (json.dumps(record) + "\n").encode())
        if options.get("keep"):
            with open(os.path.join(folder, f"{record['key']}.eml"), "wb") as file:
                file.write(raw)

    async def run(self):
        if not await self.answer("banner", "220 test ESMTP"):
            raise Ended()
        while True:
            text = await self.line()
            verb = text.split(":")[0].split(" ")[0].upper()
            commands.write((verb if verb == "AUTH" else text) + "\n")
            if verb in ("EHLO", "HELO"):
                offers = ["test"]
                if options.get("pipelining") != "no":
                    offers.append("PIPELINING")
                offers += ["SIZE 10000000", "8BITMIME"]
                if options.get("tls") == "starttls" and not self.tls:
                    offers += [] if options.get("strip") else ["STARTTLS"]
                elif options.get("login") and not options.get("no_auth"):
                    offers.append("AUTH PLAIN LOGIN")
                lines = [f"250{'-' if i < len(offers) - 1 else ' '}{o}" for i, o in enumerate(offers)]
                await self.answer("ehlo", "\r\n".join(lines))
            elif verb == "STARTTLS":
                if await self.answer("starttls", "220 2.0.0 go on"):
                    await self.writer.start_tls(tls_context())
                    self.tls = True
            elif verb == "AUTH":
                await self.login(text)
            elif verb == "MAIL":
                self.rcpt = None
                self.sender = re.search(r"<(.*)>", text).group(1)
                self.mailed = False
                if options.get("login") and not self.user:
                    await self.say("530 5.7.0 log in first")
                else:
                    self.mailed = await self.answer("mail", "250 2.1.0 ok")
            elif verb == "RCPT":
                self.rcpt = re.search(r"<(.*)>", text).group(1)
                if not self.mailed:
                    self.rcpt = None
                    await self.say("503 5.5.1 MAIL first")
                elif not await self.answer("rcpt", "250 2.1.5 ok"):
                    self.rcpt = None
            elif verb == "DATA":
                if self.rcpt is None:
                    await self.say(options.get("stubborn", "503 5.5.1 RCPT first"))
                    if options.get("stubborn"):
                        while await self.line() != ".":
                            pass
                        await self.say("554 5.5.1 nobody to send it to")
                elif await self.answer("data", "354 go on"):
                    record, raw = await self.message()
                    told = self.directive("dot")
                    # What it then fails to say does not undo that it has the message.
                    if told is None or not re.match(r"[45]\d\d", told):
                        self.write_down(record, raw)
                    await asyncio.sleep(float(options.get("delay", 0)))
                    await self.answer("dot", f"250 2.0.0 queued as {record['key']}")
                    self.carried += 1
                    if self.carried == int(options.get("messages", 0)):
                        raise Ended()
            elif verb == "RSET":
                self.rcpt = None
                await self.say("250 2.0.0 ok")
            elif verb == "QUIT":
                await self.say("221 2.0.0 bye")
                raise Ended()
            else:
                await self.say("500 5.5.2 what")


async def serve(reader, writer):
    os.write(connections, b"+")
    try:
        await Session(reader, writer).run()
    except (Ended, ConnectionError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
        pass
    finally:
        os.write(connections, b"-")
        try:
            writer.close()
        except Exception:
            pass


async def main():
    context = tls_context() if options.get("tls") == "tls" else None
    server = await asyncio.start_server(serve, "127.0.0.1", int(options.get("port", 0)), ssl=context,
                                        limit=1 << 20, backlog=200)
    port = server.sockets[0].getsockname()[1]
    with open(os.path.join(folder, "port.new"), "w") as file:
        file.write(str(port))
    os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
    await asyncio.sleep(float(options.get("life", 600)))


asyncio.run(main())
