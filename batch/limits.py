"""What sources and caches may ask of whoever reads them, and the sizes that shards have."""

LONGEST_CAPTION = 2**16  # bytes that are read; text encoders take some hundred tokens
SHARD = 2**30  # bytes of a shard's tensors, about; object stores and memory maps like this size
MOST_RECORDS = 4096  # of a shard: so much work is lost at most, and its header stays within LARGEST_JSON
AHEAD = 2  # batches that are read while one is encoded, at least
READERS = 4  # threads that decode images beside one encoder
