"""What a process says when it dies of an error that nobody caught: the trace, without secrets.

Python's own hooks print what an exception says as it is, past the log and its mask.
"""

import sys
import threading
import traceback
from types import TracebackType

from app.log import mask


def mask_crashes() -> None:
    """From now on traces of this process go through the mask of the log, in every thread."""
    sys.excepthook = _tell
    threading.excepthook = _tell_of_thread
    sys.unraisablehook = _tell_unraisable


def _tell(type_: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _write("".join(traceback.format_exception(type_, error, trace)))


def _tell_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "?"
    trace = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
    _write(f"Exception in thread {name}:\n" + "".join(trace))


def _tell_unraisable(args: "sys.UnraisableHookArgs") -> None:
    what = args.err_msg or "Exception ignored in"
    trace = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
    _write(f"{what}: {args.object!r}\n" + "".join(trace))


def _write(text: str) -> None:
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - closed at the end
        sys.stderr.write(mask(text))
        sys.stderr.flush()
