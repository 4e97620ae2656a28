"""The audit trail. Its reverse refuses where there are events."""

from pathlib import Path

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("memops_console", "0003_procedure")]
    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "audit.sql").read_text(encoding="utf-8"),
            (Path(__file__).parent / "audit_down.sql").read_text(encoding="utf-8"),
            state_operations=[
                migrations.CreateModel(
                    name="AuditEvent",
                    fields=[
                        ("sequence", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("at", models.DateTimeField()),
                        ("actor", models.TextField()),
                        ("action", models.TextField()),
                        ("object_type", models.TextField()),
                        ("object_id", models.TextField()),
                        ("run", models.BigIntegerField(null=True)),
                        ("target", models.TextField()),
                        ("details", models.TextField()),
                        ("request_id", models.TextField()),
                        ("address", models.TextField()),
                        ("previous", models.TextField()),
                        ("hash", models.TextField()),
                    ],
                    options={
                        "db_table": "audit_event",
                        "ordering": ["-sequence"],
                        "managed": False,
                        "default_permissions": ("view",),
                        "permissions": [
                            ("verify_auditevent", "Can verify the audit trail"),
                            ("export_auditevent", "Can export the audit trail"),
                        ],
                    },
                )
            ],
        )
    ]
