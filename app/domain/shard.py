"""Which shard a user belongs to: the unit of ownership and of cluster placement."""

from zlib import crc32

SHARDS_DEFAULT = 8
SHARDS_MAX = 1024  # two base32 digits of every id name a shard


def shard_of(user: str, shards: int) -> int:
    """The shard of a user id, 0 ≤ shard < `shards`. Fixed for the life of a store."""
    return crc32(user.encode()) % shards
