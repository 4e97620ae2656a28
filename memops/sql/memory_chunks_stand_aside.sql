-- Makes sure, before a restored table takes the place of public.memory_chunks, that what stands there is what was agreed upon:
-- no row that nobody has decided about. From here on nobody writes; readers go on. The transaction has said what it is to do:
--     set local memops.restore_rows = 'replace';  -- or merge, keep-newer; empty: there must be no row
do $memops$
declare
    kept_search_path text := pg_catalog.current_setting('search_path');
    present oid;
begin
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('row_security', 'off', true);
    begin
        lock table public.memory_chunks in share row exclusive mode;
    exception when undefined_table then
        perform set_config('search_path', kept_search_path, true);
        return;
    end;
    present := to_regclass('public.memory_chunks');
    if row_security_active(present) then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('Row-level security hides rows of public.memory_chunks from role %I: it cannot know whether '
                'the table is empty. Nothing was changed.', current_user),
            hint = 'Connect as a role that owns the table and has BYPASSRLS.';
    end if;
    if coalesce(current_setting('memops.restore_rows', true), '') = '' and exists (select from only public.memory_chunks) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'public.memory_chunks has rows that were not there when the restore was planned. Nothing was changed.',
            hint = 'Plan again, and say what becomes of them: replace, merge or keep-newer.';
    end if;
    perform set_config('search_path', kept_search_path, true);
end
$memops$;
