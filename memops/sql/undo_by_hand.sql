-- Undoes a rollback by hand: the quarantined table is public.memory_chunks again, for when Django is not available.
--
-- As the role that owns the table and has BYPASSRLS (or as superuser), paste it into psql, or: psql -v ON_ERROR_STOP=1 -f -
-- All of it happens or nothing, and it is safe to repeat. An empty public.memory_chunks gives way; one with rows is refused.
begin;

-- Wait at most this long for a lock. "canceling statement due to lock timeout" means: nothing was changed, try again.
set local lock_timeout = '2s';

-- The newest quarantined table is brought back, unless another one is named here:
-- set local memops.undo_table = 'memory_chunks_20260102_030405_000000';

\ir memory_chunks_undo.sql

\ir history_record.sql

commit;
