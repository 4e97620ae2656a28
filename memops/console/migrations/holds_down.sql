-- Takes the guards away; the table itself goes with the migration's other operations.
drop trigger if exists memops_backup_held on public.memops_console_backup;
drop trigger if exists memops_quarantine_held on public.memops_console_quarantinedtable;
drop trigger if exists memops_hold_truncate on public.memops_console_hold;
drop trigger if exists memops_hold_rows on public.memops_console_hold;
drop function if exists public.memops_backup_guard();
drop function if exists public.memops_quarantine_guard();
drop function if exists public.memops_hold_guard();
