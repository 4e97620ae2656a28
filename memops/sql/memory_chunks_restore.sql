-- Moves a table that was restored beside public.memory_chunks into its place, with its indexes, policy, constraints and grants.
-- The transaction has said in which schema it is:
--     set local memops.restore_schema = 'memops_restore_...';
--
-- memory_chunks_stand_aside.sql and memory_chunks_down.sql go before it, in the same transaction: it overwrites nothing.
do $memops$
declare
    kept_search_path text := pg_catalog.current_setting('search_path');
    schema_name text := nullif(pg_catalog.current_setting('memops.restore_schema', true), '');
    staged oid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    staged := to_regclass(format('%I.memory_chunks', schema_name));
    if staged is null then
        raise exception using
            errcode = 'undefined_table',
            message = format('There is no table %I.memory_chunks to put in place. Nothing was changed.', schema_name),
            hint = 'Ask for the restore again: what it had loaded is gone.';
    end if;
    if to_regclass('public.memory_chunks') is not null then
        raise exception using
            errcode = 'duplicate_table',
            message = 'public.memory_chunks is there again. Nothing was changed.',
            hint = 'Somebody has made it at this moment. Ask for the restore again.';
    end if;
    execute format('alter table %I.memory_chunks set schema public', schema_name);

    -- Never put a table in front of the application that does not keep tenants apart.
    if not exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_policy p on p.polrelid = c.oid
        where c.oid = staged and c.relrowsecurity and c.relforcerowsecurity and p.polname = 'memory_tenant_isolation'
    ) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'The restored table has no row-level security, or no policy memory_tenant_isolation: it would not keep '
                'tenants apart. Nothing was changed.',
            hint = 'Use a backup of a table that has both.';
    end if;

    insert into memops_quarantine.journal (action, table_name, table_oid) values ('restore', 'memory_chunks', staged);
    raise notice '%.memory_chunks is public.memory_chunks.', schema_name;
    perform set_config('search_path', kept_search_path, true);
end
$memops$;
