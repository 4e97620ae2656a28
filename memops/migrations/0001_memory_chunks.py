"""Makes public.memory_chunks. The SQL is in memops/sql; dimension, approximate indexes and role are settings."""

import uuid

import django.contrib.postgres.fields
import pgvector.django
from django.conf import settings
from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models
from django.db.models.functions import Now

from memops import sql


class Migration(migrations.Migration):
    initial = True
    atomic = True
    dependencies = []

    operations = [
        migrations.RunSQL(
            sql=sql.up(),
            # Django forgets a reversed migration only after the table's transaction has ended; a process that is
            # killed in between would leave a wrong history. So the history follows in the same transaction.
            reverse_sql=[sql.down(), sql.forget_history()],
            state_operations=[
                migrations.CreateModel(
                    name="MemoryChunk",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                db_default=RandomUUID(),
                                default=uuid.uuid4,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "user_hash",
                            models.CharField(
                                help_text="HMAC-SHA256 of the user id, lower-case hex: the tenant.", max_length=64
                            ),
                        ),
                        ("doc_id", models.CharField(max_length=255)),
                        ("source", models.CharField(max_length=100)),
                        ("text_plain", models.TextField(blank=True, null=True)),
                        ("text_cipher", models.BinaryField(blank=True, null=True)),
                        ("meta_cipher", models.BinaryField(blank=True, null=True)),
                        (
                            "embedding",
                            pgvector.django.VectorField(
                                blank=True, dimensions=settings.MEMOPS_EMBEDDING_DIM, null=True
                            ),
                        ),
                        ("emb_cipher", models.BinaryField(blank=True, null=True)),
                        (
                            "chunk_index",
                            models.IntegerField(help_text="Place of the chunk in its document, from 0."),
                        ),
                        ("char_start", models.IntegerField(blank=True, null=True)),
                        ("char_end", models.IntegerField(blank=True, null=True)),
                        ("created_at", models.DateTimeField(db_default=Now())),
                        ("updated_at", models.DateTimeField(db_default=Now())),
                        ("expires_at", models.DateTimeField(blank=True, null=True)),
                        (
                            "tags",
                            django.contrib.postgres.fields.ArrayField(
                                base_field=models.TextField(), blank=True, null=True
                            ),
                        ),
                        ("model", models.CharField(blank=True, max_length=100, null=True)),
                    ],
                    options={
                        "verbose_name": "memory chunk",
                        "db_table": "memory_chunks",
                        "default_permissions": (),
                    },
                ),
            ],
        ),
    ]
