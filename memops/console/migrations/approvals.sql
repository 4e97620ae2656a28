-- Approvals are the database's to enforce: no page, shell or plain SQL gets a run to the queue without them.

alter table public.memops_console_run
    add constraint run_approved_as unique (id, requester_key, digest),
    add constraint run_asked_by unique (id, requester_key);

-- With the CHECK on approver_key: an approval is of this run, of the plan that was asked for, and not the requester's.
alter table public.memops_console_approval
    add constraint approval_of_what_was_asked
    foreign key (run_id, requester_key, digest) references public.memops_console_run (id, requester_key, digest);

alter table public.memops_console_glassreview
    add constraint glass_review_of_what_was_asked
    foreign key (run_id, requester_key) references public.memops_console_run (id, requester_key);

create function public.memops_valid_approvals(run bigint) returns integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- How many people approve of this run now: active, in one of its groups, and not the one who asked.
    select count(distinct a.approver_id)::integer
    from public.memops_console_approval a
    join public.memops_console_run r on r.id = a.run_id
    join public.auth_user u on u.id = a.approver_id
    where a.run_id = run and a.decision = 'approved' and a.revoked_at is null and u.is_active
        and a.digest = r.digest and a.approver_key = 'user:' || u.id
        and 'user:' || u.id <> r.requester_key and 'account:' || u.username <> r.requester_key
        and exists (
            select from public.auth_user_groups m join public.auth_group g on g.id = m.group_id
            where m.user_id = u.id and g.name = any (string_to_array(r.approver_groups, ','))
        )
$$;

create function public.memops_run_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    valid integer;
begin
    if tg_op = 'UPDATE' then
        if (new.target_id, new.kind, new.emergency, new.plan::text, new.digest, new.requester_key, new.approvals_needed,
            new.approver_groups, new.expires_at, new.not_before, new.not_after, new.break_glass, new.incident)
            is distinct from
            (old.target_id, old.kind, old.emergency, old.plan::text, old.digest, old.requester_key, old.approvals_needed,
            old.approver_groups, old.expires_at, old.not_before, old.not_after, old.break_glass, old.incident)
        then
            raise exception 'what was asked for in run % is not changed afterwards', old.id
                using errcode = 'check_violation', constraint = 'run_is_what_was_asked_for';
        end if;
        if old.state = new.state then
            return new;
        end if;
        if new.state = 'awaiting' then
            raise exception 'run % does not go back to wait for approval', old.id
                using errcode = 'check_violation', constraint = 'run_does_not_wait_again';
        end if;
    end if;
    if new.state not in ('queued', 'running') then
        return new;
    end if;
    if new.not_before > clock_timestamp() or new.not_after <= clock_timestamp() then
        raise exception 'run % may begin only in its maintenance window', new.id
            using errcode = 'check_violation', constraint = 'run_is_in_its_window';
    end if;
    if new.approvals_needed = 0 or new.break_glass then
        return new;
    end if;
    valid := public.memops_valid_approvals(new.id);
    if valid < new.approvals_needed then
        raise exception 'run % has % of % approvals', new.id, valid, new.approvals_needed
            using errcode = 'check_violation', constraint = 'run_is_approved';
    end if;
    if new.state = 'queued' and new.expires_at <= clock_timestamp() then
        raise exception 'the request of run % has expired', new.id
            using errcode = 'check_violation', constraint = 'run_is_not_expired';
    end if;
    return new;
end
$$;

create function public.memops_approval_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    asked record;
begin
    if tg_op = 'DELETE' then
        raise exception 'decisions are kept: % is refused', tg_op
            using errcode = 'check_violation', constraint = 'approval_is_kept';
    end if;
    -- Whoever starts or claims the run waits for this, and then sees it.
    select state, expires_at into asked from public.memops_console_run where id = new.run_id for update;
    if tg_op = 'INSERT' then
        if asked.state <> 'awaiting' or asked.expires_at <= clock_timestamp() or new.revoked_at is not null then
            raise exception 'run % does not await a decision', new.run_id
                using errcode = 'check_violation', constraint = 'approval_of_an_open_request';
        end if;
        new.decided_at := clock_timestamp();
        return new;
    end if;
    if (new.run_id, new.requester_key, new.digest, new.decision, new.approver_key, new.approver_name, new.comment,
        new.decided_at)
        is distinct from
        (old.run_id, old.requester_key, old.digest, old.decision, old.approver_key, old.approver_name, old.comment,
        old.decided_at)
        or (new.approver_id is not null and new.approver_id is distinct from old.approver_id)
        or (old.revoked_at is not null
            and (new.revoked_at, new.revoked_comment) is distinct from (old.revoked_at, old.revoked_comment))
    then
        raise exception 'a decision is revoked, not changed'
            using errcode = 'check_violation', constraint = 'approval_is_kept';
    end if;
    return new;
end
$$;

create function public.memops_glass_review_guard() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' and (to_jsonb(new) - 'reviewer_id') = (to_jsonb(old) - 'reviewer_id') and new.reviewer_id is null then
        return new;
    end if;
    raise exception 'reviews are kept: % is refused', tg_op
        using errcode = 'check_violation', constraint = 'glass_review_is_kept';
end
$$;

create trigger memops_run_guard before insert or update on public.memops_console_run
    for each row execute function public.memops_run_guard();
create trigger memops_approval_guard before insert or update or delete on public.memops_console_approval
    for each row execute function public.memops_approval_guard();
create trigger memops_glass_review_guard before update or delete on public.memops_console_glassreview
    for each row execute function public.memops_glass_review_guard();

-- ALWAYS: session_replication_role = replica switches ordinary triggers off.
alter table public.memops_console_run enable always trigger memops_run_guard;
alter table public.memops_console_approval enable always trigger memops_approval_guard;
alter table public.memops_console_glassreview enable always trigger memops_glass_review_guard;
