"""Read tables and vectors of a flatbuffer, with bounds checks. https://flatbuffers.dev/internals/"""

from __future__ import annotations

import struct

from cxr_edge.structure.graph import require

#: A file's content, memory-mapped or read.
Buffer = bytes | memoryview
_KINDS = {
    kind: struct.Struct(f"<{code}")
    for kind, code in {"u1": "B", "i1": "b", "u2": "H", "u4": "I", "i4": "i", "u8": "Q", "i8": "q", "f4": "f"}.items()
}


class Table:
    """A table at an offset in a buffer; its fields are addressed by their number in the schema.

    Reading raises ValueError if an offset or a length leads out of the buffer.
    """

    def __init__(self, data: Buffer, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - number_at(data, at, "i4")
        self._size = number_at(data, self._fields, "u2")
        require(self._size >= 4 and self._fields + self._size <= len(data), "a table reaches beyond the end")
        # The fields themselves must lie within the table.
        number_at(data, at + number_at(data, self._fields + 2, "u2") - 1, "u1")

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = number_at(self._data, self._fields + entry, "u2") if entry + 2 <= self._size else 0
        return self._at + offset if offset else None

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A number of a kind such as `i4`, a signed integer of four bytes."""
        place = self._place(field)
        return default if place is None else number_at(self._data, place, kind)

    def table(self, field: int) -> Table | None:
        place = self._place(field)
        return None if place is None else Table(self._data, self._led_to(place))

    def tables(self, field: int, most: int) -> list[Table]:
        """A vector of tables. Raises ValueError for more than `most`."""
        start, length = self.vector(field, 4)
        require(length <= most, f"a list of {length}")
        return [Table(self._data, self._led_to(start + 4 * index)) for index in range(length)]

    def numbers(self, field: int, kind: str, most: int) -> tuple[int, ...]:
        """A vector of numbers. Raises ValueError for more than `most`."""
        start, length = self.vector(field, _KINDS[kind].size)
        if length > most:
            raise ValueError(f"a list of {length}")
        numbers = _KINDS[kind].iter_unpack(self._data[start : start + length * _KINDS[kind].size])
        return tuple(number for (number,) in numbers)

    def text(self, field: int) -> str:
        start, length = self.vector(field, 1)
        return bytes(self._data[start : start + length]).decode("utf-8")

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """The offset and the length of a vector whose elements have `size` bytes."""
        place = self._place(field)
        if place is None:
            return 0, 0
        at = self._led_to(place)
        length = number_at(self._data, at, "u4")
        require(at + 4 + length * size <= len(self._data), "a list reaches beyond the end")
        return at + 4, length

    def _led_to(self, place: int) -> int:
        return place + number_at(self._data, place, "u4")


def number_at(data: Buffer, at: int, kind: str) -> int:
    """A number at an offset in a buffer. Raises ValueError if it is out of bounds."""
    form = _KINDS[kind]
    # For a negative offset, struct would count from the end.
    if not 0 <= at <= len(data) - form.size:
        raise ValueError("an offset leads beyond the end")
    value: int = form.unpack_from(data, at)[0]
    return value
