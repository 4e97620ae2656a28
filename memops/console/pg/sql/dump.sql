-- name: limit_lock_wait
-- How long may this session wait for a lock (milliseconds)?
select pg_catalog.set_config('lock_timeout', %(lock_timeout)s::text, false)

-- name: begin
-- Everything in this transaction sees the table as it is now.
begin transaction isolation level repeatable read read only

-- name: hold
-- Keeps the table as it is defined now until the end. It comes before the snapshot: rows rewritten in between would be
-- invisible in it.
lock table {}.{} in access share mode

-- name: export
-- Under which name can other sessions see what this one sees?
select pg_catalog.pg_export_snapshot()

-- name: join
-- Sees what the session sees that exported the snapshot.
set transaction snapshot {}
