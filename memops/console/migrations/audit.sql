-- The audit trail: rows can be added, nothing else. The chain is computed here, so that no writer can get it wrong;
-- docs/audit.md defines the bytes that are hashed.

create table public.audit_event (
    sequence bigint primary key,
    at timestamptz not null,
    actor text not null,
    action text not null check (action <> ''),
    object_type text not null default '',
    object_id text not null default '',
    run bigint,
    target text not null default '',
    details text not null default '{}',
    request_id text not null default '',
    address text not null default '',
    previous text not null check (previous ~ '^[0-9a-f]{64}$'),
    hash text not null unique check (hash ~ '^[0-9a-f]{64}$')
);

create index audit_event_run on public.audit_event (run, sequence) where run is not null;
create index audit_event_actor on public.audit_event (actor, sequence);
create index audit_event_action on public.audit_event (action, sequence);
create index audit_event_target on public.audit_event (target, sequence) where target <> '';
create index audit_event_object on public.audit_event (object_type, object_id, sequence) where object_type <> '';
create index audit_event_at on public.audit_event using brin (at);

create function public.audit_event_chain() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    head record;
    field text;
    form text := '';
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'audit_event is written in read committed only: an older snapshot does not see the head';
    end if;
    -- A statement of its own: one that locks and reads has taken its snapshot before it waited, and forks the chain.
    perform pg_advisory_xact_lock(1835363683, 0);
    select sequence, hash into head from public.audit_event order by sequence desc limit 1;
    new.sequence := coalesce(head.sequence, 0) + 1;
    new.previous := coalesce(head.hash, repeat('0', 64));
    new.at := clock_timestamp();
    foreach field in array array[
        'memops-audit-1', new.sequence::text, new.previous,
        to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        new.actor, new.action, new.object_type, new.object_id, coalesce(new.run::text, ''), new.target, new.details,
        new.request_id, new.address
    ] loop
        form := form || octet_length(convert_to(field, 'UTF8')) || ':' || field || ',';
    end loop;
    new.hash := encode(sha256(convert_to(form, 'UTF8')), 'hex');
    return new;
end
$$;

create function public.audit_event_is_append_only() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'audit_event is append-only: % is refused', tg_op;
end
$$;

create trigger audit_event_chain before insert on public.audit_event
    for each row execute function public.audit_event_chain();
create trigger audit_event_rows before update or delete on public.audit_event
    for each row execute function public.audit_event_is_append_only();
create trigger audit_event_truncate before truncate on public.audit_event
    for each statement execute function public.audit_event_is_append_only();

-- ALWAYS: session_replication_role = replica switches ordinary triggers off.
alter table public.audit_event enable always trigger audit_event_chain;
alter table public.audit_event enable always trigger audit_event_rows;
alter table public.audit_event enable always trigger audit_event_truncate;
