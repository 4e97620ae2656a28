-- name: append
-- Adds an event; its trigger gives it number, time and hash.
insert into public.audit_event (actor, action, object_type, object_id, run, target, details, request_id, address)
values (
    %(actor)s, %(action)s, %(object_type)s, %(object_id)s, %(run)s, %(target)s, %(details)s, %(request_id)s,
    %(address)s
)

-- name: events
-- Every event in the order of the chain, time as it is hashed.
select
    sequence, previous, pg_catalog.to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, actor, action,
    object_type, object_id, coalesce(run::text, '') as run, target, details, request_id, address, hash
from public.audit_event
where sequence > %(after)s
order by sequence

-- name: head
-- The last event.
select sequence, hash from public.audit_event order by sequence desc limit 1

-- name: hash_of
-- One event's hash, to compare with what an anchor has seen.
select hash from public.audit_event where sequence = %(sequence)s

-- name: last_of
-- The last event of some rare kinds. Read by kind: a pattern could use that index in the C collation only, and in plain
-- order of the numbers the planner may read the trail from its end until it meets one.
select action, details from public.audit_event
where action = any (%(actions)s::text[]) order by sequence + 0 desc limit 1

-- name: triggers
-- Which triggers guard the trail, the approvals, the sign-offs and the holds, and how they are enabled: A is ALWAYS.
select t.tgname, case when bool_and(t.tgenabled = 'A') then 'A' else 'no' end
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
where t.tgname = any (%(names)s) and c.relnamespace = 'public'::pg_catalog.regnamespace and not t.tgisinternal
group by t.tgname

-- name: isolate
-- The trail is written in read committed, whatever the role or the database is set to.
set default_transaction_isolation = 'read committed'
