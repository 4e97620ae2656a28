-- Checklists are the database's to enforce: no page, shell or plain SQL changes what was signed, or closes a run too early.

create function public.memops_open_items(run bigint) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- How many required items of this run's checklist nobody has settled. Items that a version lacks count as open.
    select t.items_total - (
        select count(*)::integer
        from public.memops_console_checklistitem i
        left join lateral (
            select s.decision from public.memops_console_signoff s
            where s.run_id = r.id and s.item_id = i.id order by s.id desc limit 1
        ) newest on true
        where i.template_id = t.id
            and (not i.required or newest.decision in ('passed', 'signed', 'not_applicable', 'accepted'))
    )
    from public.memops_console_run r
    join public.memops_console_checklisttemplate t on t.id = r.checklist_id
    where r.id = run
$$;

create function public.memops_run_is_closed(run bigint) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        (select c.decision = 'closed' from public.memops_console_runclosing c where c.run_id = run order by c.id desc limit 1),
        false
    )
$$;

create function public.memops_run_checklist() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        new.checklist_id := (
            select t.id from public.memops_console_checklisttemplate t
            where t.kind = new.kind order by t.version desc limit 1
        );
    elsif new.checklist_id is distinct from old.checklist_id then
        raise exception 'the checklist of run % is the one of its request', old.id
            using errcode = 'check_violation', constraint = 'run_keeps_its_checklist';
    end if;
    return new;
end
$$;

create function public.memops_checklist_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'memops_console_checklisttemplate' then
        if (to_jsonb(new) - 'author_id') = (to_jsonb(old) - 'author_id') and new.author_id is null then
            return new;
        end if;
    elsif tg_op = 'INSERT' and tg_table_name = 'memops_console_checklisttemplate' then
        if new.version <> 1 + coalesce(
            (select max(t.version) from public.memops_console_checklisttemplate t where t.kind = new.kind), 0)
        then
            raise exception 'versions of a checklist follow one another'
                using errcode = 'check_violation', constraint = 'checklist_versions_follow';
        end if;
        new.published_at := clock_timestamp();
        return new;
    elsif tg_op = 'INSERT' then
        if new.number < 1 or new.number > (
            select t.items_total from public.memops_console_checklisttemplate t where t.id = new.template_id)
        then
            raise exception 'version % of a checklist is complete', new.template_id
                using errcode = 'check_violation', constraint = 'checklist_is_complete';
        end if;
        return new;
    end if;
    raise exception 'a published checklist is never changed: % is refused', tg_op
        using errcode = 'check_violation', constraint = 'checklist_is_kept';
end
$$;

create function public.memops_is_person(person bigint, key text, name text) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from public.auth_user u
        where u.id = person and u.is_active and key = 'user:' || u.id and name = u.username
    )
$$;

create function public.memops_signoff_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    asked record;
    item record;
    newest text;
    is_settled boolean;
begin
    if tg_op = 'UPDATE' then
        if (to_jsonb(new) - 'signer_id') = (to_jsonb(old) - 'signer_id') and new.signer_id is null then
            return new;
        end if;
    end if;
    if tg_op <> 'INSERT' then
        raise exception 'sign-offs are kept: % is refused', tg_op
            using errcode = 'check_violation', constraint = 'signoff_is_kept';
    end if;
    -- A snapshot from before the lock would not see who came first.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'sign-offs and closings are written in read committed only'
            using errcode = 'check_violation', constraint = 'checklist_in_read_committed';
    end if;
    -- One at a time for a run: the second of two signers waits here, and then sees the first.
    select ended_at, checklist_id into asked from public.memops_console_run where id = new.run_id for no key update;
    select i.* into item from public.memops_console_checklistitem i where i.id = new.item_id;
    if asked.checklist_id is null or item.template_id is distinct from asked.checklist_id then
        raise exception 'item % is not on the checklist of run %', new.item_id, new.run_id
            using errcode = 'check_violation', constraint = 'signoff_of_the_runs_checklist';
    end if;
    if asked.ended_at is null then
        raise exception 'run % has not ended', new.run_id
            using errcode = 'check_violation', constraint = 'signoff_after_the_end';
    end if;
    if public.memops_run_is_closed(new.run_id) and new.decision <> 'reopened' then
        raise exception 'run % is closed', new.run_id
            using errcode = 'check_violation', constraint = 'signoff_before_the_closing';
    end if;
    newest := (
        select s.decision from public.memops_console_signoff s
        where s.run_id = new.run_id and s.item_id = new.item_id order by s.id desc limit 1
    );
    is_settled := coalesce(newest in ('passed', 'signed', 'not_applicable', 'accepted'), false);
    new.at := clock_timestamp();

    if new.signer_key = 'memops' then
        if item.machine = '' or newest is not null or new.signer_id is not null or new.signer_name <> 'memops'
            or new.role <> '' or new.decision not in ('passed', 'failed', 'not_applicable')
        then
            raise exception 'a machine check ticks its own item, once'
                using errcode = 'check_violation', constraint = 'signoff_by_machine';
        end if;
        return new;
    end if;

    if not public.memops_is_person(new.signer_id, new.signer_key, new.signer_name) then
        raise exception 'a sign-off is an active person''s own'
            using errcode = 'check_violation', constraint = 'signoff_by_a_person';
    end if;
    if new.decision in ('passed', 'failed') or (new.decision = 'signed' and item.machine <> '')
        or (new.decision = 'accepted' and item.machine = '')
    then
        raise exception 'a machine item is not ticked by hand'
            using errcode = 'check_violation', constraint = 'signoff_fits_the_item';
    end if;
    if new.decision = 'reopened' then
        if not is_settled and not public.memops_run_is_closed(new.run_id) then
            raise exception 'item % is open', item.number
                using errcode = 'check_violation', constraint = 'signoff_reopens_what_is_settled';
        end if;
        return new;
    end if;
    if is_settled then
        raise exception 'item % is settled', item.number
            using errcode = 'check_violation', constraint = 'signoff_once';
    end if;
    if item.role not in ('', new.role) or new.role <> '' and not exists (
        select from public.auth_user_groups m join public.auth_group g on g.id = m.group_id
        where m.user_id = new.signer_id and g.name = new.role)
    then
        raise exception 'item % is signed by a member of the group %', item.number, coalesce(nullif(item.role, ''), new.role)
            using errcode = 'check_violation', constraint = 'signoff_in_a_role';
    end if;
    if item.role <> '' and exists (
        select from public.memops_console_checklistitem other
        join lateral (
            select s.decision, s.signer_key from public.memops_console_signoff s
            where s.run_id = new.run_id and s.item_id = other.id order by s.id desc limit 1
        ) held on held.decision in ('signed', 'not_applicable') and held.signer_key = new.signer_key
        where other.template_id = item.template_id and other.role not in ('', item.role))
    then
        raise exception 'nobody signs in two of the roles that a checklist asks for'
            using errcode = 'check_violation', constraint = 'signoff_in_one_role';
    end if;
    return new;
end
$$;

create function public.memops_signoff_reopens_the_run() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.decision = 'reopened' and public.memops_run_is_closed(new.run_id) then
        insert into public.memops_console_runclosing (run_id, decision, person_id, person_key, person_name, note)
        values (new.run_id, 'reopened', new.signer_id, new.signer_key, new.signer_name, new.note);
    end if;
    return null;
end
$$;

create function public.memops_closing_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    asked record;
    left_open integer;
begin
    if tg_op = 'UPDATE' then
        if (to_jsonb(new) - 'person_id') = (to_jsonb(old) - 'person_id') and new.person_id is null then
            return new;
        end if;
    end if;
    if tg_op <> 'INSERT' then
        raise exception 'closings are kept: % is refused', tg_op
            using errcode = 'check_violation', constraint = 'closing_is_kept';
    end if;
    -- A snapshot from before the lock would not see who came first.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'sign-offs and closings are written in read committed only'
            using errcode = 'check_violation', constraint = 'checklist_in_read_committed';
    end if;
    select ended_at, checklist_id into asked from public.memops_console_run where id = new.run_id for no key update;
    if not public.memops_is_person(new.person_id, new.person_key, new.person_name) then
        raise exception 'a closing is an active person''s own'
            using errcode = 'check_violation', constraint = 'closing_by_a_person';
    end if;
    if asked.ended_at is null or asked.checklist_id is null then
        raise exception 'run % has not ended, or has no checklist', new.run_id
            using errcode = 'check_violation', constraint = 'closing_after_the_end';
    end if;
    if (new.decision = 'closed') = public.memops_run_is_closed(new.run_id) then
        raise exception 'run % is % already', new.run_id, new.decision
            using errcode = 'check_violation', constraint = 'closing_once';
    end if;
    left_open := public.memops_open_items(new.run_id);
    if new.decision = 'closed' and left_open <> 0 then
        raise exception 'run % has % open items', new.run_id, left_open
            using errcode = 'check_violation', constraint = 'closing_of_what_is_signed';
    end if;
    new.at := clock_timestamp();
    return new;
end
$$;

create trigger memops_run_checklist before insert or update on public.memops_console_run
    for each row execute function public.memops_run_checklist();
create trigger memops_checklist_rows before insert or update or delete on public.memops_console_checklisttemplate
    for each row execute function public.memops_checklist_guard();
create trigger memops_checklist_truncate before truncate on public.memops_console_checklisttemplate
    for each statement execute function public.memops_checklist_guard();
create trigger memops_checklist_rows before insert or update or delete on public.memops_console_checklistitem
    for each row execute function public.memops_checklist_guard();
create trigger memops_checklist_truncate before truncate on public.memops_console_checklistitem
    for each statement execute function public.memops_checklist_guard();
create trigger memops_signoff_rows before insert or update or delete on public.memops_console_signoff
    for each row execute function public.memops_signoff_guard();
create trigger memops_signoff_truncate before truncate on public.memops_console_signoff
    for each statement execute function public.memops_signoff_guard();
create trigger memops_signoff_reopens after insert on public.memops_console_signoff
    for each row execute function public.memops_signoff_reopens_the_run();
create trigger memops_closing_rows before insert or update or delete on public.memops_console_runclosing
    for each row execute function public.memops_closing_guard();
create trigger memops_closing_truncate before truncate on public.memops_console_runclosing
    for each statement execute function public.memops_closing_guard();

-- ALWAYS: session_replication_role = replica switches ordinary triggers off.
alter table public.memops_console_run enable always trigger memops_run_checklist;
alter table public.memops_console_checklisttemplate enable always trigger memops_checklist_rows;
alter table public.memops_console_checklisttemplate enable always trigger memops_checklist_truncate;
alter table public.memops_console_checklistitem enable always trigger memops_checklist_rows;
alter table public.memops_console_checklistitem enable always trigger memops_checklist_truncate;
alter table public.memops_console_signoff enable always trigger memops_signoff_rows;
alter table public.memops_console_signoff enable always trigger memops_signoff_truncate;
alter table public.memops_console_signoff enable always trigger memops_signoff_reopens;
alter table public.memops_console_runclosing enable always trigger memops_closing_rows;
alter table public.memops_console_runclosing enable always trigger memops_closing_truncate;
