"""Read tables and vectors of a flatbuffer, with bounds checks. https://flatbuffers.dev/internals/"""

from __future__ import annotations

import struct

from cxr_edge.structure.graph import require

#: A file's content, memory-mapped or read.
Buffer = bytes | memoryview
#: Twenty times the longest name in a real file. A forged file's tensors may all share one of a megabyte.
_MAX_TEXT = 1 << 12
_CODES = {"u1": "B", "i1": "b", "u2": "H", "u4": "I", "i4": "i", "u8": "Q", "i8": "q", "f4": "f"}
# A model has ten thousand numbers, and each prediction reads them.
_KINDS = {kind: struct.Struct(f"<{code}") for kind, code in _CODES.items()}


class Table:
    """A table at an offset in a buffer; its fields are addressed by their number in the schema.

    Reading raises ValueError if an offset or a length leads out of the buffer.
    """

    def __init__(self, data: Buffer, at: int) -> None:
        self._data, self._at = data, at
        fields = at - number_at(data, at, "i4")
        size = number_at(data, fields, "u2")
        require(size >= 4 and fields + size <= len(data), "a table reaches beyond the end")
        # Offsets are read when they are needed: tables may share a list of thousands, of which copies fill the memory.
        self._fields, self._count = fields + 4, size // 2 - 2
        extent = number_at(data, fields + 2, "u2")
        # The fields themselves must lie within the table.
        number_at(data, at + extent - 1, "u1")

    def _place(self, field: int) -> int | None:
        offset = number_at(self._data, self._fields + 2 * field, "u2") if field < self._count else 0
        return self._at + offset if offset else None

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A number of a kind such as `i4`, a signed integer of four bytes."""
        place = self._place(field)
        return default if place is None else number_at(self._data, place, kind)

    def table(self, field: int) -> Table | None:
        place = self._place(field)
        return None if place is None else Table(self._data, self._target(place))

    def tables(self, field: int, most: int) -> list[Table]:
        """A vector of tables. Raises ValueError for more than `most`."""
        start, length = self.vector(field, 4)
        require(length <= most, f"a list of {length}")
        return [Table(self._data, self._target(start + 4 * index)) for index in range(length)]

    def numbers(self, field: int, kind: str, most: int) -> tuple[int, ...]:
        """A vector of numbers. Raises ValueError for more than `most`."""
        start, length = self.vector(field, _KINDS[kind].size)
        require(length <= most, f"a list of {length}")
        numbers: tuple[int, ...] = struct.unpack_from(f"<{length}{_CODES[kind]}", self._data, start)
        return numbers

    def text(self, field: int) -> str:
        start, length = self.vector(field, 1)
        require(length <= _MAX_TEXT, f"a text of {length} bytes")
        return bytes(self._data[start : start + length]).decode("utf-8")

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """The offset and the length of a vector whose elements have `size` bytes."""
        place = self._place(field)
        if place is None:
            return 0, 0
        at = self._target(place)
        length = number_at(self._data, at, "u4")
        require(at + 4 + length * size <= len(self._data), "a list reaches beyond the end")
        return at + 4, length

    def _target(self, place: int) -> int:
        return place + number_at(self._data, place, "u4")


def number_at(data: Buffer, at: int, kind: str) -> int:
    """A number at an offset in a buffer. Raises ValueError if it is out of bounds."""
    # For a negative offset, struct would count from the end.
    require(at >= 0, "an offset leads beyond the end")
    try:
        value: int = _KINDS[kind].unpack_from(data, at)[0]
    except struct.error:
        raise ValueError("an offset leads beyond the end") from None
    return value
