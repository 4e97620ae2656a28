-- name: idle
-- Which clients idle in a transaction that holds a table, for longer than the limit, and may this role end them?
select
    a.pid,
    a.usename::text as role,
    nullif(a.application_name, '') as application,
    a.state,
    pg_catalog.clock_timestamp() - a.state_change as idle,
    a.backend_start,
    a.xact_start,
    a.state_change,
    (pg_catalog.pg_has_role(a.usesysid, 'usage') or pg_catalog.pg_has_role('pg_signal_backend', 'usage'))
        and (me.rolsuper or not coalesce(r.rolsuper, false)) as may_be_ended
from pg_catalog.pg_stat_activity a
join pg_catalog.pg_roles me on me.rolname = current_user
left join pg_catalog.pg_roles r on r.oid = a.usesysid
where a.state in ('idle in transaction', 'idle in transaction (aborted)')
    and a.backend_type = 'client backend'
    and pg_catalog.clock_timestamp() - a.state_change > %(limit)s
    and a.pid <> pg_catalog.pg_backend_pid()
    -- Whatever calls itself memops is left alone: another console's pg_dump idles between two tables.
    and a.application_name !~ '^memops( |$)'
    and exists (
        select from pg_catalog.pg_locks l
        where l.pid = a.pid and l.granted and l.locktype = 'relation' and l.relation = any(%(oids)s::oid[])
            and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    )
order by a.state_change, a.pid

-- name: end
-- Ends one of them, if it is the same session in the same transaction and has not stirred, so that it still holds the table.
with still as materialized (
    select a.pid
    from pg_catalog.pg_stat_activity a
    where a.pid = %(pid)s and a.backend_start = %(backend_start)s and a.xact_start = %(xact_start)s
        and a.state_change = %(state_change)s and a.state in ('idle in transaction', 'idle in transaction (aborted)')
)
select pg_catalog.pg_terminate_backend(still.pid, %(patience_ms)s) from still
