"""Runs a program on a terminal of its own, and tells what it shows there.

  terminal.py PROGRAM [ARGUMENT...]

Standard input is the program's; its standard output and standard error are the terminal, 24 lines of 120 columns.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
program = subprocess.Popen(sys.argv[1:], stdout=theirs, stderr=theirs, env=dict(os.environ, TERM="xterm"))
os.close(theirs)
while True:
    try:
        shown = os.read(ours, 4096)
    except OSError:  # The last one who had the terminal open has gone.
        break
    if not shown:
        break
    os.write(1, shown)
sys.exit(program.wait())
