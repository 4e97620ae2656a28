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
    pg_catalog.set_config(name, case name when 'client_connection_check_interval' then '500' else '0' end, false)
from pg_catalog.pg_settings
where name in (
    'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
    'client_connection_check_interval'
)

-- name: backend
-- Which server process serves this session?
select pg_catalog.pg_backend_pid()

-- name: limit
-- Bounds one transaction of a look that may not take long (milliseconds; 0 for no bound).
select
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s::text, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s::text, true)
