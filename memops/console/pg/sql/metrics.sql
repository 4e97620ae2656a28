-- name: round_trip
-- How long is the way to the server and back?
select 1

-- name: newest_rows
-- The 50 newest rows, by the index: how long does an ordinary read take?
select id, created_at from public.memory_chunks order by created_at desc limit 50

-- name: counters
-- How busy is the database, and how far are its replicas behind?
select
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity where datname = d.datname)::int as connections,
    pg_catalog.current_setting('max_connections')::int as max_connections,
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity where datname = d.datname and state = 'active')::int
        as active,
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity
        where datname = d.datname and state like 'idle in transaction%')::int as idle_in_transaction,
    (select extract(epoch from pg_catalog.max(pg_catalog.clock_timestamp() - xact_start))::float8
        from pg_catalog.pg_stat_activity
        where datname = d.datname and pid <> pg_catalog.pg_backend_pid()) as oldest_transaction_seconds,
    d.xact_commit as commits,
    d.xact_rollback as rollbacks,
    d.deadlocks,
    (d.blks_hit::float8 / nullif(d.blks_hit + d.blks_read, 0)) as cache_hit_share,
    (select pg_catalog.max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), replay_lsn))::bigint
        from pg_catalog.pg_stat_replication) as replication_lag_bytes,
    pg_catalog.pg_database_size(d.datid) as database_bytes
from pg_catalog.pg_stat_database d
where d.datname = pg_catalog.current_database()
