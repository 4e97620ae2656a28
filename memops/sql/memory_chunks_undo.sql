-- Brings a quarantined table back as public.memory_chunks, with its indexes, policy, constraints and grants.
--
-- The newest one; another is chosen by its name, in the same transaction:
--     set local memops.undo_table = 'memory_chunks_20260102_030405_000000';
--
-- One statement, hence one transaction: all of it happens or nothing. Safe to repeat. An empty public.memory_chunks gives way;
-- one with rows is never touched.
do $memops$
declare
    kept_search_path text := pg_catalog.current_setting('search_path');
    kept_lock_timeout text := pg_catalog.current_setting('lock_timeout');
    kept_row_security text := pg_catalog.current_setting('row_security');
    wanted text := nullif(pg_catalog.current_setting('memops.undo_table', true), '');
    present oid;
    chosen oid;
    chosen_name text;
    has_journal boolean;
    last_undo_name text;
    old_names jsonb;
    old_acl jsonb;
    stamp text;
    taken text;
    skipped text;
    obstacles text;
    part record;
begin
    -- Below, a function or operator of somebody else's schema cannot stand in for the server's own.
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform set_config('row_security', 'off', true);
    -- Longer than deadlock_timeout, after which the server cancels an autovacuum; a caller who has set a limit keeps it.
    if kept_lock_timeout = '0' then
        perform set_config('lock_timeout', (greatest(setting::int, 1000) + 1000)::text, true)
        from pg_catalog.pg_settings where name = 'deadlock_timeout';
    end if;

    -- Done already? Repeating an undo must not go on to the next older table.
    has_journal := to_regclass('memops_quarantine.journal') is not null;
    present := to_regclass('public.memory_chunks');
    if has_journal and present is not null then
        select table_name into last_undo_name from memops_quarantine.journal
        where action = 'undo' and table_oid = present order by id desc limit 1;
        if last_undo_name = coalesce(wanted, last_undo_name) then
            raise notice 'memops_quarantine.% is public.memory_chunks again already: nothing to do.', last_undo_name;
            perform set_config('row_security', kept_row_security, true),
                set_config('lock_timeout', kept_lock_timeout, true), set_config('search_path', kept_search_path, true);
            return;
        end if;
    end if;

    select c.oid, c.relname into chosen, chosen_name
    from pg_catalog.pg_class c
    where c.relnamespace = to_regnamespace('memops_quarantine') and c.relkind = 'r'
        and c.relname ~ '^memory_chunks_[0-9]{8}_[0-9]{6}_[0-9]{6}$'
        and c.relname = coalesce(wanted, c.relname)
    order by c.relname desc
    limit 1;
    if chosen is null then
        raise exception using
            errcode = 'undefined_table',
            message = case when wanted is null then 'There is no quarantined table: nothing to bring back. Nothing was changed.'
                else format('There is no quarantined table memops_quarantine.%I. Nothing was changed.', wanted) end,
            hint = 'See what there is: select relname from pg_class where relnamespace = ''memops_quarantine''::regnamespace.';
    end if;
    stamp := substr(chosen_name, length('memory_chunks_') + 1);

    -- An empty table in its place, made by a later deployment, gives way; rows that were written meanwhile do not.
    if present is not null then
        begin
            lock table public.memory_chunks in access exclusive mode;
        exception when undefined_table then
            null; -- Another session has taken it away in the meantime: the better.
        end;
        present := to_regclass('public.memory_chunks');
    end if;
    if present is not null then
        if (select relkind from pg_catalog.pg_class where oid = present) <> 'r' then
            raise exception using
                errcode = 'wrong_object_type',
                message = 'public.memory_chunks is not an ordinary table: memops did not make it. Nothing was changed.',
                hint = 'Rename or remove it, and repeat this.';
        end if;
        if row_security_active(present) then
            raise exception using
                errcode = 'insufficient_privilege',
                message = format('Row-level security hides rows of public.memory_chunks from role %I: it cannot know '
                    'whether the table is empty. Nothing was changed.', current_user),
                hint = 'Connect as a role that owns the table and has BYPASSRLS, or as superuser, and repeat this.';
        end if;
        if current_setting('transaction_isolation') <> 'read committed' then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = format('A transaction that is %s cannot know whether public.memory_chunks is empty. '
                    'Nothing was changed.', upper(current_setting('transaction_isolation'))),
                hint = 'Repeat this in a transaction that is READ COMMITTED.';
        end if;
        if exists (select from only public.memory_chunks) then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = format('public.memory_chunks has rows that were written after the rollback; '
                    'memops_quarantine.%I cannot take its place. Nothing was changed.', chosen_name),
                hint = 'Roll back once more: the newer rows are kept in quarantine too. Then undo, and choose the older '
                    'table by its name. Copy the newer rows over by hand if they are wanted.';
        end if;
        begin
            drop table public.memory_chunks;
        exception when dependent_objects_still_exist then
            get stacked diagnostics obstacles = pg_exception_detail;
            raise exception using
                errcode = 'dependent_objects_still_exist',
                message = format('Other objects depend on the empty public.memory_chunks: %s. Nothing was changed.',
                    replace(obstacles, E'\n', ', ')),
                hint = 'Drop or detach them, and repeat this. They are never dropped along with it.';
        end;
    end if;

    execute format('lock table memops_quarantine.%I in access exclusive mode', chosen_name);
    if has_journal then
        select names, acl into old_names, old_acl from memops_quarantine.journal
        where action = 'quarantine' and table_name = chosen_name and table_oid = chosen
        order by id desc limit 1;
    end if;

    -- Give indexes and sequences their names back: as the journal has them, or without their stamp where it does not.
    select string_agg(quote_ident(old.name), ', ' order by old.name) into taken
    from pg_catalog.pg_class c
    cross join lateral (
        select coalesce(old_names ->> c.relname::text, regexp_replace(c.relname, '_' || stamp || '$', '')) as name
    ) old
    where c.oid in (select indexrelid from pg_catalog.pg_index where indrelid = chosen)
        and to_regclass(format('public.%I', old.name)) is not null;
    if taken is not null then
        raise exception using
            errcode = 'duplicate_table',
            message = format('The names of its indexes are in use in schema public: %s. Nothing was changed.', taken),
            hint = 'Rename those, and repeat this.';
    end if;
    execute format('alter table memops_quarantine.%I set schema public', chosen_name);
    execute format('alter table public.%I rename to memory_chunks', chosen_name);
    for part in
        select c.relname, coalesce(old_names ->> c.relname::text, regexp_replace(c.relname, '_' || stamp || '$', '')) as old_name
        from pg_catalog.pg_class c
        where c.oid in (select indexrelid from pg_catalog.pg_index where indrelid = chosen)
            or (c.relkind = 'S' and c.oid in (
                select objid from pg_catalog.pg_depend
                where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = chosen
            ))
    loop
        if part.relname <> part.old_name then
            execute format('alter table public.%I rename to %I', part.relname, part.old_name);
        end if;
    end loop;

    -- Give the grants back. Who had one from a third role has it from the owner now.
    if old_acl is null then
        raise warning 'The journal does not know memops_quarantine.%: its grants have to be given again by hand.', chosen_name;
    end if;
    for part in
        select grants.grantee, grants.privilege, grants."column", bool_or(grants.grantable) as grantable
        from jsonb_to_recordset(coalesce(old_acl, '[]'))
            as grants (grantee text, privilege text, grantable boolean, "column" text)
        where (grants.grantee is null or to_regrole(quote_ident(grants.grantee)) is not null)
            and (grants."column" is null or exists (
                select from pg_catalog.pg_attribute
                where attrelid = chosen and attname = grants."column" and not attisdropped))
            and grants.privilege ~ '^[A-Z]+$'
        group by grants.grantee, grants.privilege, grants."column"
    loop
        execute format('grant %s%s on table public.memory_chunks to %s%s',
            part.privilege,
            case when part."column" is null then '' else format(' (%I)', part."column") end,
            coalesce(quote_ident(part.grantee), 'public'),
            case when part.grantable then ' with grant option' else '' end);
    end loop;
    select string_agg(distinct quote_ident(grants.grantee), ', ') into skipped
    from jsonb_to_recordset(coalesce(old_acl, '[]')) as grants (grantee text)
    where to_regrole(quote_ident(grants.grantee)) is null and grants.grantee is not null;
    if skipped is not null then
        raise notice 'Roles that are gone did not get their grants back: %.', skipped;
    end if;

    -- Never put a table in front of the application that does not keep tenants apart.
    if not exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_policy p on p.polrelid = c.oid
        where c.oid = chosen and c.relrowsecurity and c.relforcerowsecurity and p.polname = 'memory_tenant_isolation'
    ) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('memops_quarantine.%I has lost its row-level security or its policy memory_tenant_isolation: '
                'it would not keep tenants apart. Nothing was changed.', chosen_name),
            hint = 'Enable and force row-level security there, make the policy again as memory_chunks_up.sql does, and '
                'repeat this.';
    end if;

    if has_journal then
        insert into memops_quarantine.journal (action, table_name, table_oid) values ('undo', chosen_name, chosen);
    else
        raise warning 'There is no memops_quarantine.journal: this undo is not recorded.';
    end if;
    raise notice 'memops_quarantine.% is public.memory_chunks again.', chosen_name;

    perform set_config('row_security', kept_row_security, true);
    perform set_config('lock_timeout', kept_lock_timeout, true);
    perform set_config('search_path', kept_search_path, true);
end
$memops$;
