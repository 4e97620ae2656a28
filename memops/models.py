"""The table memory_chunks as Django sees it; memops.sql says how it is made, and guards it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models.functions import Now
from pgvector.django import VectorField


class MemoryChunk(models.Model):
    """A piece of what an AI product remembers for a user: sealed text, and an embedding to find it by.

    The application sees and writes rows inside ``memops.tenancy.tenant_scope`` only. Indexes, CHECK and row-level
    security are made by the migration's SQL and not repeated here: Django allows shorter index names than PostgreSQL.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    user_hash = models.CharField(max_length=64, help_text="HMAC-SHA256 of the user id, lower-case hex: the tenant.")
    doc_id = models.CharField(max_length=255)
    source = models.CharField(max_length=100)
    text_plain = models.TextField(null=True, blank=True)  # noqa: DJ001  null: there is a sealed text instead
    text_cipher = models.BinaryField(null=True, blank=True)
    meta_cipher = models.BinaryField(null=True, blank=True)
    embedding = VectorField(dimensions=settings.MEMOPS_EMBEDDING_DIM, null=True, blank=True)
    emb_cipher = models.BinaryField(null=True, blank=True)
    chunk_index = models.IntegerField(help_text="Place of the chunk in its document, from 0.")
    char_start = models.IntegerField(null=True, blank=True)
    char_end = models.IntegerField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    tags = ArrayField(models.TextField(), null=True, blank=True)
    model = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001  null: nobody said which model

    class Meta:
        db_table = "memory_chunks"
        verbose_name = "memory chunk"
        default_permissions = ()

    def __str__(self) -> str:
        return f"chunk {self.chunk_index} of {self.doc_id}"
