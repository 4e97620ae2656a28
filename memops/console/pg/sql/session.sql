-- name: notice_lost_client
-- Lets the server notice within half a minute that this client has vanished, and free its locks then. Behind a pooler,
-- which gives out numbers of its own for the server's processes, nothing is set, and no row comes back.
select
    pg_catalog.set_config('client_connection_check_interval', '500', false),
    pg_catalog.set_config('tcp_keepalives_idle', '10', false),
    pg_catalog.set_config('tcp_keepalives_interval', '5', false),
    pg_catalog.set_config('tcp_keepalives_count', '4', false),
    pg_catalog.set_config('tcp_user_timeout', '30000', false)
where pg_catalog.pg_backend_pid() = coalesce(%(pid)s::int4, pg_catalog.pg_backend_pid())

-- name: configure
-- Frees a session from what the role, the database or the server sets for others.
select
    pg_catalog.set_config('row_security', 'off', false),
    pg_catalog.set_config('search_path', 'pg_catalog', false),
    pg_catalog.set_config('timezone', 'UTC', false),
    -- What values look like as text, and in which encoding they are sent, is the same everywhere: fingerprints hang on it.
    pg_catalog.set_config('client_encoding', 'UTF8', false),
    pg_catalog.set_config('datestyle', 'ISO, MDY', false),
    pg_catalog.set_config('intervalstyle', 'postgres', false),
    pg_catalog.set_config('extra_float_digits', '1', false),
    pg_catalog.set_config('bytea_output', 'hex', false),
    pg_catalog.set_config('default_transaction_isolation', 'read committed', false),
    pg_catalog.set_config('default_transaction_read_only', 'off', false),
    pg_catalog.set_config(name, '0', false)
from pg_catalog.pg_settings
where name in (
    'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout'
)

-- name: is_at_work
-- Does the server work for a session of this name in this database? It does not while it waits for the client.
select exists (
    select from pg_catalog.pg_stat_activity
    where datname = pg_catalog.current_database() and application_name = %(application_name)s
        and state = 'active' and wait_event_type is distinct from 'Client'
)

-- name: backend
-- Which server process serves this session?
select pg_catalog.pg_backend_pid()

-- name: limit
-- Bounds one transaction of a look that may not take long (milliseconds; 0 for no bound), and lets it count without other
-- processes: they would need shared memory, which may be full.
select
    pg_catalog.set_config('max_parallel_workers_per_gather', '0', true),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s::text, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s::text, true)
