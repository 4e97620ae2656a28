-- name: now
-- What time is it?
select pg_catalog.clock_timestamp()
