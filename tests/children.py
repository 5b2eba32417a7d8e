"""Tasks for child processes to do: each misbehaves in its own way."""

import os
import signal
import subprocess
import sys
import time

from auditor.errors import ModelLoadError


def answer(source, entry, request, progress, wanted):
    progress("first", 0, 2)
    progress("first", 2, 2)
    return [source, entry, request, wanted("an identity"), os.getpid()]


def hang(*_):
    time.sleep(3600)


def eat(*_):
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20) * 16))
        time.sleep(0.01)


def be_killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def crash(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(*_):
    os._exit(7)


def refuse(*_):
    raise ModelLoadError("cannot read the weights")


def stumble(*_):
    raise ZeroDivisionError("somewhere in a model")


def chatter(*_):
    print("a model talks")
    sys.stdout.flush()
    subprocess.run(["echo", "and so do its children"], check=True)
    return "said"


def environment(*_):
    return os.environ.get("SOME_SETTING")


def unpicklable(*_):
    return lambda: None


def deep(*_):
    return deep()
