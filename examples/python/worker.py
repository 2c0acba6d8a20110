#!/usr/bin/env python3
"""A worker in Python, without any dependency: sends every packet back; "quit" ends the connection.

docs/worker-protocol.md describes the bytes. Everything below handle() is the same for every worker.
"""

import binascii
import json
import os
import struct
import sys
import time
import traceback

CONTROL, RAW, JSON, ERROR = 0x01, 0x04, 0x08, 0x40  # flags of a frame
STREAM = 0x01  # stream flag: more frames of this answer follow
MAX_WAIT = 0.005  # replies of a bulk wait for each other so long, in seconds


def handle(event, body):
    """Returns the reply to an event, a dictionary as docs/worker.md has it, and the bytes that go to the client."""
    if event["event"] != "DATA":
        return {"reply": "CONTINUE"}, b""
    if body.rstrip(b"\r\n") == b"quit":
        return {"reply": "WRITECLOSE"}, b"bye\r\n"
    return {"reply": "WRITE"}, body


def answer(event, body):
    """Returns the context and the body of the reply. An error of handle(), or in what it returns, ends that connection
    alone; the uuid says whose reply it is."""
    try:
        reply, out = handle(event, body)
        return json.dumps({**reply, "uuid": event["uuid"]}).encode(), b"" + out
    except Exception:
        traceback.print_exc()  # RoadRunner logs standard error
        return json.dumps({"reply": "CLOSE", "uuid": event["uuid"]}).encode(), b""


def answer_bulk(bulk, body):
    """Answers events of several connections. Replies go out together, unless that takes too long."""
    replies, bodies, offset, flushed = [], [], 0, time.monotonic()
    for i, (event, size) in enumerate(zip(bulk["events"], bulk["sizes"], strict=True)):
        reply, out = answer(event, body[offset : offset + size])
        offset += size
        replies.append(reply)
        bodies.append(out)
        is_last = i == len(bulk["events"]) - 1
        if is_last or time.monotonic() - flushed > MAX_WAIT:
            sizes = json.dumps([len(b) for b in bodies]).encode()
            context = b'{"replies":[%s],"sizes":%s}' % (b",".join(replies), sizes)
            send(RAW, context, b"".join(bodies), stream=0 if is_last else STREAM)
            replies, bodies, flushed = [], [], time.monotonic()


def receive():
    """Returns flags, context and body of the next frame, or None when RoadRunner has closed the pipe."""
    header = sys.stdin.buffer.read(12)
    if len(header) < 12:
        return None
    version, flags, size, checksum = struct.unpack("<BBII", header[:10])
    if version >> 4 != 1 or checksum != binascii.crc32(header[:6]):
        sys.exit("this is no frame: " + header.hex())
    options = sys.stdin.buffer.read(4 * (version & 15) - 12)
    payload = sys.stdin.buffer.read(size)
    n = struct.unpack_from("<I", options)[0] if options else 0
    return flags, payload[:n], payload[n:]


def send(flags, context, body, stream=0):
    options = b"" if flags & (CONTROL | ERROR) else struct.pack("<I", len(context))
    start = struct.pack("<BBI", 0x13 + len(options) // 4, flags, len(context) + len(body))
    frames.write(start + struct.pack("<IBB", binascii.crc32(start), stream, 0) + options + context + body)
    frames.flush()


def main():
    while (frame := receive()) is not None:
        flags, context, body = frame
        if flags & CONTROL:
            if json.loads(body).get("stop"):
                return
            send(CONTROL | JSON, b"", json.dumps({"pid": os.getpid()}).encode())
        elif context:  # a frame without one is no event: it asks to end a stream, or is the answer to a ping
            event = json.loads(context)
            if event["event"] == "BULK":
                answer_bulk(event, body)
            else:
                send(RAW, *answer(event, body))


if __name__ == "__main__":
    frames = sys.stdout.buffer
    sys.stdout = sys.stderr  # what is printed must not get between the frames
    main()
