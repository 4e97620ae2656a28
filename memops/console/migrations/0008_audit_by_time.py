"""Events of a day are found by time. The index that is replaced was not used for the newest fifty of them: the planner
takes them for evenly spread over the trail, and read it from its end."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("memops_console", "0007_checklists")]
    operations = [
        migrations.RunSQL(
            """
            create index audit_event_time on public.audit_event (at, sequence);
            drop index public.audit_event_at;
            """,
            """
            create index audit_event_at on public.audit_event using brin (at);
            drop index public.audit_event_time;
            """,
        )
    ]
