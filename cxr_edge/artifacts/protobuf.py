"""Read the fields of a protobuf message, with bounds checks. https://protobuf.dev/programming-guides/encoding/"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: A file's content, memory-mapped or read.
Buffer = bytes | memoryview
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field: its value if it is a number, otherwise the range of bytes of its content."""

    number: int
    value: int
    start: int
    end: int


class Message:
    """A message within a range of bytes of a buffer.

    Reading raises ValueError if a field extends past the end.
    """

    def __init__(self, data: Buffer, start: int, end: int) -> None:
        self._data, self._start, self._end = data, start, end

    def fields(self) -> Iterator[Field]:
        """Each field in turn."""
        at = self._start
        while at < self._end:
            tag, at = self._varint(at)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, at = self._varint(at)
                yield Field(number, value, at, at)
                continue
            if kind == _LENGTH:
                length, at = self._varint(at)
            elif kind in (_FIXED64, _FIXED32):
                length = 8 if kind == _FIXED64 else 4
            else:
                raise ValueError(f"a field of type {kind}")
            if length > self._end - at:
                raise ValueError("truncated")
            yield Field(number, 0, at, at + length)
            at += length

    def each(self, number: int) -> Iterator[Message]:
        """The messages in a repeated field."""
        return (self.inside(field) for field in self.fields() if field.number == number)

    def inside(self, field: Field) -> Message:
        """The message that a field holds."""
        return Message(self._data, field.start, field.end)

    def text(self, field: Field) -> str:
        return bytes(self._data[field.start : field.end]).decode("utf-8")

    def varints(self, field: Field, most: int) -> list[int]:
        """The numbers in a repeated field, packed or not, as signed 64-bit integers.

        Raises ValueError for more than `most`.
        """
        if field.start == field.end and field.value:
            return [_signed(field.value)]
        values, at = [], field.start
        packed = Message(self._data, field.start, field.end)
        while at < field.end:
            value, at = packed._varint(at)
            values.append(_signed(value))
            if len(values) > most:
                raise ValueError(f"a list of more than {most} numbers")
        return values or [0]

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            if at >= self._end or shift > 63:
                raise ValueError("truncated")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, at
            shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
