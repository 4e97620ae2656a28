-- Rolls memory_chunks back by hand: what `manage.py migrate memops zero` does, for when Django is not available.
--
-- As the role that owns the table and has BYPASSRLS (or as superuser), paste it into psql, or: psql -v ON_ERROR_STOP=1 -f -
-- All of it happens or nothing, and it is safe to repeat. No row is destroyed: a table with rows is moved to the schema
-- memops_quarantine, and comes back by `manage.py memops undo` or by what `manage.py memops sql undo` prints.
begin;

-- Wait at most this long for the table's lock, since every reader waits behind it. Above deadlock_timeout (1 s), so that a
-- running autovacuum gives way. "canceling statement due to lock timeout" means: nothing was changed, try again.
set local lock_timeout = '2s';

\ir memory_chunks_down.sql

\ir history_forget.sql

commit;
