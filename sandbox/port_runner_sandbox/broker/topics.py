"""Topics: the records of each partition, as the batches in which producers sent them."""

import asyncio
import struct
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from crc32c import crc32c
from kio.schema.errors import ErrorCode

# Kafka's default for a batch: 1 MiB and the 12 bytes before it.
MAX_MESSAGE_BYTES = 1024 * 1024 + 12
EARLIEST, LATEST, MAX_TIMESTAMP = -2, -1, -3

# Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and highest timestamp, producer's
# id and epoch, first sequence number, number of records.
HEADER = struct.Struct(">qiibIhiqqqhii")
BEFORE_LENGTH, BEFORE_CRC, AFTER_CRC = 12, 17, 21
COMPRESSION, TRANSACTION_OR_CONTROL = 0b111, 0b110000
KEPT_SEQUENCES = 5


class Refused(Exception):
    """A request about a partition or topic that gets an error."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True)
class Batch:
    """A batch of records, as a producer sent it."""

    data: bytes
    attributes: int
    first_timestamp: int
    max_timestamp: int
    producer: int
    epoch: int
    sequence: int
    count: int
    offset: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.count

    def at(self, offset: int) -> "Batch":
        """Return this batch with the offset of its first record, in leader epoch 0."""
        data = struct.pack(">q", offset) + self.data[8:12] + struct.pack(">i", 0) + self.data[16:]
        return Batch(**{**vars(self), "data": data, "offset": offset})

    def records(self) -> Iterator[tuple[int, int]]:
        """Yield offset and timestamp of each record, or of the first one alone if the batch is compressed."""
        if self.attributes & COMPRESSION:
            yield self.offset, self.max_timestamp
            return
        position = HEADER.size
        for number in range(self.count):
            size, start = _varint(self.data, position)
            delta, _ = _varint(self.data, start + 1)
            yield self.offset + number, self.first_timestamp + delta
            position = start + size


def read_batch(data: bytes, *, max_bytes: int) -> Batch:
    """Read what a producer sent for one partition: exactly one batch. Raises Refused."""
    if len(data) < HEADER.size:
        raise Refused(ErrorCode.corrupt_message)
    _, length, _, magic, crc, attributes, last, first_timestamp, max_timestamp, producer, epoch, sequence, count = (
        HEADER.unpack_from(data)
    )
    if magic != 2 or length + BEFORE_LENGTH != len(data) or count != last + 1 or count < 1:
        raise Refused(ErrorCode.invalid_record)
    if attributes & TRANSACTION_OR_CONTROL:
        raise Refused(ErrorCode.invalid_record)
    if len(data) > max_bytes:
        raise Refused(ErrorCode.message_too_large)
    if crc32c(data[AFTER_CRC:]) != crc:
        raise Refused(ErrorCode.corrupt_message)
    return Batch(data, attributes, first_timestamp, max_timestamp, producer, epoch, sequence, count)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the signed number at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position


@dataclass
class Partition:
    """The batches of one partition. Nothing is ever removed."""

    batches: list[Batch] = field(default_factory=list)
    _recent: dict[int, list[Batch]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return self.batches[-1].end if self.batches else 0

    def append(self, batch: Batch) -> int:
        """Append a batch and return its offset. One that an idempotent producer repeats is there already."""
        if batch.producer < 0:
            return self._append(batch).offset
        recent = self._recent.get(batch.producer, [])
        epoch, expected = (recent[-1].epoch, recent[-1].sequence + recent[-1].count) if recent else (batch.epoch, 0)
        if batch.epoch < epoch:
            raise Refused(ErrorCode.invalid_producer_epoch)
        if batch.epoch > epoch:
            recent, expected = [], 0
        for known in recent:
            if (known.sequence, known.count) == (batch.sequence, batch.count):
                return known.offset
        if batch.sequence != expected % 2**31:
            raise Refused(ErrorCode.out_of_order_sequence_number)
        placed = self._append(batch)
        self._recent[batch.producer] = [*recent, placed][-KEPT_SEQUENCES:]
        return placed.offset

    def _append(self, batch: Batch) -> Batch:
        placed = batch.at(self.end)
        self.batches.append(placed)
        return placed

    def read(self, offset: int, limit: int, *, at_least_one: bool) -> bytes:
        """Return whole batches from the one with this offset on, together no larger than `limit`. Raises Refused."""
        if not 0 <= offset <= self.end:
            raise Refused(ErrorCode.offset_out_of_range)
        found: list[bytes] = []
        for batch in self.batches[bisect_right(self.batches, offset, key=lambda each: each.end) :]:
            limit -= len(batch.data)
            if limit < 0 and (found or not at_least_one):
                break
            found.append(batch.data)
        return b"".join(found)

    def find(self, timestamp: int) -> tuple[int, int]:
        """Return offset and timestamp of the first record that is not older, or of the place that Kafka's codes name.

        Without such a record, both are -1.
        """
        if timestamp == EARLIEST:
            return 0, -1
        if timestamp == LATEST:
            return self.end, -1
        if timestamp == MAX_TIMESTAMP:
            timestamp = max((batch.max_timestamp for batch in self.batches), default=0)
        for batch in self.batches:
            if batch.max_timestamp >= timestamp:
                for offset, found in batch.records():
                    if found >= timestamp:
                        return offset, found
        return -1, -1


@dataclass(frozen=True)
class Topic:
    """A topic of an organization, whose users may read it."""

    name: str
    organization: str
    partitions: list[Partition]
    max_message_bytes: int = MAX_MESSAGE_BYTES
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    def partition(self, number: int) -> Partition:
        """Return a partition. Raises Refused."""
        if not 0 <= number < len(self.partitions):
            raise Refused(ErrorCode.unknown_topic_or_partition)
        return self.partitions[number]


class Topics(dict[str, Topic]):
    """All topics by name."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = asyncio.Event()

    def by_id(self, id: uuid.UUID | None) -> Topic | None:
        """Return the topic with this id."""
        return next((topic for topic in self.values() if topic.id == id), None)

    def tell(self) -> None:
        """Wake everyone who waits for `appended`; who waits later gets a new event."""
        self.appended.set()
        self.appended = asyncio.Event()
