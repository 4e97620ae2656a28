"""memops: deploys, watches, rolls back and recovers the table memory_chunks."""

__version__ = "0.1.0"
