"""Run a command that never outlives the process that started it.

`python -I -S watcher.py COMMAND...` runs COMMAND in a session of its own. When standard input closes, it ends COMMAND
and every process that COMMAND has started. Standard input closes at the latest when the process at the other end of the
pipe ends, for any reason. The watcher ends as its command ended: with the same exit code, or by the same signal.

It starts before every function, so it imports little.
"""

import os
import signal
import sys
import threading


def run(command: list[str]) -> None:
    """Run one command to its end. Does not return."""
    child = os.fork()
    if child == 0:
        become(command)

    def end(*_: object) -> None:
        # End the child itself too: it may not have its own session yet.
        for kill in (os.kill, os.killpg):
            # contextlib is avoided: its import would take a third of the start.
            try:  # noqa: SIM105
                kill(child, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def end_with_parent() -> None:
        os.read(0, 1)
        end()

    for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(stop, end)
    threading.Thread(target=end_with_parent, daemon=True).start()
    # Do not reap the child yet: it keeps its process group's number while the rest of the group is ended.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    end()
    end_as(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def become(command: list[str]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def end_as(exit_code: int) -> None:
    if exit_code < 0:
        if -exit_code != signal.SIGKILL:
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    os._exit(exit_code)


if __name__ == "__main__":
    run(sys.argv[1:])
