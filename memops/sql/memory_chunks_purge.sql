-- Drops one quarantined table with all its rows, for good: nothing but a backup brings them back.
--
-- Which one is said by its name and its oid, in the same transaction, so that no other table can be meant:
--     set local memops.purge_table = 'memory_chunks_20260102_030405_000000';
--     set local memops.purge_oid = '16400';
--
-- This text compares nothing. The run that executes it (manage.py memops purge) has locked the table in the same transaction, and
-- has compared every row with the verified backup. One statement: all of it happens or nothing. Safe to repeat.
do $memops$
declare
    kept_search_path text := pg_catalog.current_setting('search_path');
    wanted text := nullif(pg_catalog.current_setting('memops.purge_table', true), '');
    wanted_oid oid := nullif(pg_catalog.current_setting('memops.purge_oid', true), '')::oid;
    victim oid;
    obstacles text;
begin
    -- Below, a function or operator of somebody else's schema cannot stand in for the server's own.
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if wanted is null or wanted_oid is null or wanted !~ '^memory_chunks_[0-9]{8}_[0-9]{6}_[0-9]{6}$' then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'It is not said which quarantined table is to be dropped. Nothing was changed.',
            hint = 'Name it, and its oid: memops.purge_table and memops.purge_oid.';
    end if;
    if to_regclass('memops_quarantine.journal') is null then
        raise exception using
            errcode = 'undefined_table',
            message = 'There is no memops_quarantine.journal, and no table is dropped without a record. Nothing was changed.',
            hint = 'Find out where the journal went.';
    end if;

    -- Who moves it away meanwhile has to be seen: the lock first, then the look.
    begin
        execute format('lock table memops_quarantine.%I in access exclusive mode', wanted);
    exception when undefined_table then
        null; -- Below it is said what became of it.
    end;
    select c.oid into victim
    from pg_catalog.pg_class c
    where c.relnamespace = to_regnamespace('memops_quarantine') and c.relname = wanted and c.relkind = 'r';
    if victim is null and exists (
        select from memops_quarantine.journal where action = 'purge' and table_name = wanted and table_oid = wanted_oid)
    then
        raise notice 'memops_quarantine.% is dropped already: nothing to do.', wanted;
        perform set_config('search_path', kept_search_path, true);
        return;
    end if;
    if victim is distinct from wanted_oid then
        raise exception using
            errcode = 'undefined_table',
            message = format('memops_quarantine.%I is not the table that was to be dropped (oid %s): %s. Nothing was changed.',
                wanted, wanted_oid, coalesce('there is one with oid ' || victim, 'there is none of this name')),
            hint = 'It was renamed, moved or replaced by hand. Find out by whom.';
    end if;

    begin
        execute format('drop table memops_quarantine.%I restrict', wanted);
    exception when dependent_objects_still_exist then
        get stacked diagnostics obstacles = pg_exception_detail;
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('Other objects depend on memops_quarantine.%I: %s. Nothing was changed.',
                wanted, replace(obstacles, E'\n', ', ')),
            hint = 'Drop or detach them, and repeat this. They are never dropped along with it.';
    end;
    insert into memops_quarantine.journal (action, table_name, table_oid) values ('purge', wanted, victim);
    raise notice 'memops_quarantine.% is dropped, with all its rows.', wanted;

    perform set_config('search_path', kept_search_path, true);
end
$memops$;
