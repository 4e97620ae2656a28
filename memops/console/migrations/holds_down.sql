-- Takes the guards away; the table itself goes with the migration's other operations.
drop trigger if exists memops_backup_held on public.memops_console_backup;
drop trigger if exists memops_quarantine_held on public.memops_console_quarantinedtable;
drop trigger if exists memops_hold_truncate on public.memops_console_hold;
drop trigger if exists memops_hold_rows on public.memops_console_hold;
drop function if exists public.memops_backup_guard();
drop function if exists public.memops_quarantine_guard();
drop function if exists public.memops_hold_guard();

-- What a release without purges cannot keep. Holds go with their table: the audit trail keeps each of them as an event.
do $$
begin
    if exists (select from public.memops_console_run where kind = 'purge') then
        raise exception 'There are purges in the history, which a release without purges does not know. Nothing was changed.';
    end if;
end
$$;
update public.memops_console_quarantinedtable set state = 'missing' where state = 'purged';
update public.memops_console_backup
set state = 'failed', error = 'Deleted by ' || deleted_by_name || ': ' || deleted_reason, deleted_at = null, deleted_by_name = ''
where state in ('deleting', 'deleted');
