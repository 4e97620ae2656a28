-- name: try
-- Takes a session advisory lock, if nobody has it: was it free?
select pg_catalog.pg_try_advisory_lock(%(space)s::int4, %(key)s::int4)

-- name: mine
-- Which server process holds the lock for this session? No row: none does.
select pid
from pg_catalog.pg_locks
where locktype = 'advisory' and classid = %(space)s::int4::oid and objid = %(key)s::int4::oid and objsubid = 2
    and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
    and granted and pid = pg_catalog.pg_backend_pid()

-- name: is_held
-- Does any session hold the lock, or that of this server process, if one is given?
select exists (
    select from pg_catalog.pg_locks
    where locktype = 'advisory' and classid = %(space)s::int4::oid and objid = %(key)s::int4::oid and objsubid = 2
        and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
        and granted and pid = coalesce(%(pid)s::int4, pid)
)
