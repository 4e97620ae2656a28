-- Holds are the database's to enforce: nothing is dropped or deleted on which one stands, and none is put on
-- what is on its way to go.

create function public.memops_hold_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    held record;
begin
    if tg_op = 'INSERT' then
        -- A snapshot from before the lock would not see who came first.
        if current_setting('transaction_isolation') <> 'read committed' then
            raise exception 'holds are written in read committed only'
                using errcode = 'check_violation', constraint = 'hold_in_read_committed';
        end if;
        -- Who drops or deletes has found no hold, and has this row until it has said so; from then on a hold is too late.
        if new.table_id is not null then
            select q.state, r.state as drop_state into held
            from public.memops_console_quarantinedtable q
            left join public.memops_console_run r on r.id = q.doomed_by_id
            where q.id = new.table_id for update of q;
            if held.drop_state in ('running', 'unknown') then
                raise exception 'quarantined table % is being dropped', new.table_id
                    using errcode = 'check_violation', constraint = 'hold_before_the_drop';
            end if;
        else
            select b.state into held from public.memops_console_backup b where b.id = new.backup_id for update;
        end if;
        if held.state not in ('kept', 'written', 'verified') or new.lifted_at is not null then
            raise exception 'what is to be held is not kept any more'
                using errcode = 'check_violation', constraint = 'hold_on_what_is_kept';
        end if;
        new.put_at := clock_timestamp();
        return new;
    elsif tg_op = 'UPDATE' then
        if (new.id, new.kind, new.table_id, new.backup_id, new.reason, new.put_by_name, new.put_at) is not distinct from
                (old.id, old.kind, old.table_id, old.backup_id, old.reason, old.put_by_name, old.put_at)
            and (new.put_by_id is null or new.put_by_id is not distinct from old.put_by_id)
            and (old.lifted_at is null
                or (new.lifted_at, new.lifted_by_name, new.lifted_reason)
                    is not distinct from (old.lifted_at, old.lifted_by_name, old.lifted_reason)
                and (new.lifted_by_id is null or new.lifted_by_id is not distinct from old.lifted_by_id))
        then
            return new;
        end if;
    end if;
    raise exception 'a hold is lifted, and kept: % is refused', tg_op
        using errcode = 'check_violation', constraint = 'hold_is_kept';
end
$$;

create function public.memops_quarantine_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.doomed_by_id is not null and exists (
        select from public.memops_console_hold h where h.table_id = new.id and h.lifted_at is null)
    then
        raise exception 'quarantined table % is under a hold', new.id
            using errcode = 'check_violation', constraint = 'drop_of_what_nobody_holds';
    end if;
    return new;
end
$$;

create function public.memops_backup_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.state in ('deleting', 'deleted') and exists (
        select from public.memops_console_hold h where h.backup_id = new.id and h.lifted_at is null)
    then
        raise exception 'backup % is under a hold', new.id
            using errcode = 'check_violation', constraint = 'deletion_of_what_nobody_holds';
    end if;
    if old.state in ('deleting', 'deleted') and (new.state <> 'deleted'
        or (new.sha256, new.rows, new.size_bytes, new.fingerprint, new.deleted_by_name)
            is distinct from (old.sha256, old.rows, old.size_bytes, old.fingerprint, old.deleted_by_name))
    then
        raise exception 'what is kept of backup %, which is deleted, is not changed', new.id
            using errcode = 'check_violation', constraint = 'deleted_backup_is_kept';
    end if;
    return new;
end
$$;

create trigger memops_hold_rows before insert or update or delete on public.memops_console_hold
    for each row execute function public.memops_hold_guard();
create trigger memops_hold_truncate before truncate on public.memops_console_hold
    for each statement execute function public.memops_hold_guard();
create trigger memops_quarantine_held before update of doomed_by_id on public.memops_console_quarantinedtable
    for each row execute function public.memops_quarantine_guard();
create trigger memops_backup_held before update on public.memops_console_backup
    for each row execute function public.memops_backup_guard();

-- ALWAYS: session_replication_role = replica switches ordinary triggers off.
alter table public.memops_console_hold enable always trigger memops_hold_rows;
alter table public.memops_console_hold enable always trigger memops_hold_truncate;
alter table public.memops_console_quarantinedtable enable always trigger memops_quarantine_held;
alter table public.memops_console_backup enable always trigger memops_backup_held;
