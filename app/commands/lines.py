"""The lines of a process's output, from the pieces that a pipe brings."""

import codecs

LINE_MAX = 16 * 1024  # characters; a longer line comes in several pieces


class LineSplitter:
    """Cuts bytes into lines of text. A character is never cut; what is no UTF-8 becomes U+FFFD."""

    def __init__(self, line_max: int = LINE_MAX) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._line_max = line_max
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that end in `chunk`, without their ends, and the full pieces of long ones."""
        *ended, self._rest = (self._rest + self._decode(chunk)).split("\n")
        lines = [piece for line in ended for piece in self._pieces(line.removesuffix("\r"))]
        if len(self._rest) > self._line_max:
            *pieces, self._rest = self._pieces(self._rest)
            lines += pieces
        return lines

    def end(self) -> list[str]:
        """What came after the last line's end."""
        rest = self._rest + self._decode(b"", True)
        self._rest = ""
        return self._pieces(rest) if rest else []

    def _pieces(self, line: str) -> list[str]:
        size = self._line_max
        return [line[start : start + size] for start in range(0, len(line), size)] or [""]
