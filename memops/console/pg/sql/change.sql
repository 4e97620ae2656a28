-- name: begin
-- Prepares the transaction of a change: which one is it? What is set ends with it.
select
    pg_catalog.set_config('memops.run_id', %(key)s::text, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s::text, true),
    pg_catalog.set_config('statement_timeout', '0', true),
    -- Nobody is to queue behind the lock of a client that does not go on.
    pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true),
    pg_catalog.set_config('application_name', 'memops', true),
    pg_catalog.pg_current_xact_id()::text

-- name: shorten_deadlock_timeout
-- Lets the server cancel an autovacuum that is in the way sooner than lock_timeout ends the wait for it.
select pg_catalog.set_config('deadlock_timeout', %(deadlock_timeout)s::text, true)

-- name: deadlock_timeout
-- How many milliseconds does the server wait before it looks for a deadlock, or cancels an autovacuum?
select setting::int from pg_catalog.pg_settings where name = 'deadlock_timeout'

-- name: name_session
-- What the session of this transaction is called on the server.
select pg_catalog.set_config('application_name', %(name)s::text, true)

-- name: lock_quarantined
-- Keeps a quarantined table as it is until the end of the transaction.
lock table memops_quarantine.{} in access exclusive mode

-- name: choose_for_purge
-- Says which quarantined table is to be dropped, until the end of the transaction.
select
    pg_catalog.set_config('memops.purge_table', %(table)s::text, true),
    pg_catalog.set_config('memops.purge_oid', %(oid)s::text, true)
