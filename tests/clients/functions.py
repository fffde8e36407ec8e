"""Lambda functions, run by awslambdaric as Lambda runs them."""

import json
import os
import sys
import time


def double(event, context):
    """Answers the double, and what Lambda tells a function."""
    print("doubling", event)
    return {
        "n": 2 * event["n"],
        "request_id": context.aws_request_id,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "has_time": 0 < context.get_remaining_time_in_millis() <= 10_000,
        "custom": context.client_context.custom,
        "secret": os.environ.get("SECRET"),
        "inherited": "TIDEGATE_LOG" in os.environ or "HOME" in os.environ,
    }


def record(event, context):
    """Notes each event with its request id."""
    with open(os.environ["RECORD"], "a") as file:
        file.write(json.dumps({"id": context.aws_request_id, "n": event["n"], "pid": os.getpid()}) + "\n")


def behave(event, context):
    """Does what the event says, as badly as it says."""
    how = event["how"]
    if how == "raise":
        raise ValueError("not with me")
    if how == "exit":
        print("going now", file=sys.stderr)
        sys.stderr.flush()
        os._exit(3)
    if how == "hang":
        time.sleep(3600)
    if how == "fill":
        block = bytearray(1 << 30)
        return len(block)
    if how == "large":
        return "x" * (7 << 20)
    if how == "print":
        os.write(1, b"\x00\xff\x1b[31m" + b"y" * 100_000 + b"\n")
        # More than a pipe holds: most of it has been read when the answer comes.
        os.write(1, b"line\n" * 50_000)
    if how == "fork":
        # A child that ignores SIGTERM, keeps the output open and outlives the answer.
        if os.fork() == 0:
            import signal

            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        os._exit(4)
    return how
