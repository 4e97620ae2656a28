-- Takes public.memory_chunks away. A table with rows is moved, with its indexes, policy and constraints, to
-- memops_quarantine.memory_chunks_<UTC time>, and every grant on it is revoked; an empty one is dropped.
--
-- `manage.py migrate memops zero` runs this text. It is one statement, hence one transaction: all of it happens or nothing.
-- Safe to repeat. Milliseconds for any number of rows. To bring the table back: memory_chunks_undo.sql.
do $memops$
declare
    kept_search_path text := pg_catalog.current_setting('search_path');
    kept_lock_timeout text := pg_catalog.current_setting('lock_timeout');
    kept_row_security text := pg_catalog.current_setting('row_security');
    victim oid;
    relation pg_catalog.pg_class;
    publications text;
    dependents text;
    stamp text;
    new_name text;
    names jsonb := '{}';
    acl jsonb;
    part record;
    number int;
begin
    -- Below, a function or operator of somebody else's schema cannot stand in for the server's own.
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    -- The server cancels an autovacuum that is in the way only after deadlock_timeout: wait longer than that, but not for
    -- ever, since every reader queues behind this. A caller who has set a limit keeps it.
    if kept_lock_timeout = '0' then
        perform set_config('lock_timeout', (greatest(setting::int, 1000) + 1000)::text, true)
        from pg_catalog.pg_settings where name = 'deadlock_timeout';
    end if;

    select * into relation from pg_catalog.pg_class where oid = to_regclass('public.memory_chunks');
    if relation.relkind <> 'r' then
        raise exception using
            errcode = 'wrong_object_type',
            message = 'public.memory_chunks is not an ordinary table: memops did not make it. Nothing was changed.',
            hint = 'Find out who made it. If the history is all that is wrong: manage.py migrate memops zero --fake.';
    end if;
    if not pg_has_role(relation.relowner, 'usage') then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('Role %I does not own public.memory_chunks; %I does. Nothing was changed.',
                current_user, pg_get_userbyid(relation.relowner)),
            hint = 'Connect as the owner, and repeat this.';
    end if;

    -- No obstacle, but worth knowing. Asked before there is a lock: on a server with many tables this takes a while.
    select string_agg(quote_ident(pubname), ', ' order by pubname) into publications
    from pg_catalog.pg_publication_tables where schemaname = 'public' and tablename = 'memory_chunks';
    if publications is not null then
        raise warning 'public.memory_chunks is published by %: its subscribers still have the table, and its rows.', publications;
    end if;

    -- From here on nobody reads or writes the table, and nothing can begin to depend on it.
    begin
        lock table public.memory_chunks in access exclusive mode;
    exception when undefined_table then
        raise notice 'There is no table public.memory_chunks: nothing to do.';
        perform set_config('lock_timeout', kept_lock_timeout, true), set_config('search_path', kept_search_path, true);
        return;
    end;
    victim := to_regclass('public.memory_chunks');
    select * into relation from pg_catalog.pg_class where oid = victim;

    -- What others have built on the table. A move would take it along silently, and CASCADE would destroy it.
    select string_agg(distinct users.name, ', ' order by users.name) into dependents
    from (
        select pg_describe_object(d.classid, d.objid, d.objsubid) as name
        from pg_catalog.pg_depend d
        left join pg_catalog.pg_class r on d.classid = 'pg_class'::regclass and r.oid = d.objid
        left join pg_catalog.pg_type t on d.classid = 'pg_type'::regclass and t.oid = d.objid
        where (
                (d.refclassid = 'pg_class'::regclass and d.refobjid = victim)
                or (d.refclassid = 'pg_type'::regclass and d.refobjid in (
                    select oid from pg_catalog.pg_type
                    where typrelid = victim or typelem = (select oid from pg_catalog.pg_type where typrelid = victim)
                ))
            )
            -- Its own parts: row type, array type, TOAST table, sequences, indexes, ... (Views and rules follow below.)
            and not (t.oid is not null and (t.typrelid = victim or t.typelem = relation.reltype))
            and not (r.oid is not null and (r.relkind in ('t', 'S', 'v', 'm')
                or exists (select from pg_catalog.pg_index i where i.indexrelid = r.oid and i.indrelid = victim)))
            -- ... constraints, defaults, triggers, policies, statistics. (Publications are no obstacle.)
            and not exists (select from pg_catalog.pg_constraint c
                where d.classid = 'pg_constraint'::regclass and c.oid = d.objid and c.conrelid = victim)
            and not exists (select from pg_catalog.pg_attrdef a
                where d.classid = 'pg_attrdef'::regclass and a.oid = d.objid and a.adrelid = victim)
            and not exists (select from pg_catalog.pg_trigger g
                where d.classid = 'pg_trigger'::regclass and g.oid = d.objid and g.tgrelid = victim)
            and not exists (select from pg_catalog.pg_policy p
                where d.classid = 'pg_policy'::regclass and p.oid = d.objid and p.polrelid = victim)
            and not exists (select from pg_catalog.pg_statistic_ext s
                where d.classid = 'pg_statistic_ext'::regclass and s.oid = d.objid and s.stxrelid = victim)
            and d.classid not in ('pg_rewrite'::regclass, 'pg_publication_rel'::regclass)
        union all
        -- A view depends by a rule of its own: say the view's name.
        select case when v.relkind in ('v', 'm') then pg_describe_object('pg_class'::regclass, v.oid, 0)
            else pg_describe_object('pg_rewrite'::regclass, w.oid, 0) end
        from pg_catalog.pg_depend d
        join pg_catalog.pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
        join pg_catalog.pg_class v on v.oid = w.ev_class
        where w.ev_class <> victim and (
                (d.refclassid = 'pg_class'::regclass and d.refobjid = victim)
                or (d.refclassid = 'pg_type'::regclass and d.refobjid in (relation.reltype,
                    (select typarray from pg_catalog.pg_type where oid = relation.reltype)))
            )
        union all
        select 'parent ' || pg_describe_object('pg_class'::regclass, inhparent, 0)
        from pg_catalog.pg_inherits where inhrelid = victim
    ) users;
    if dependents is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('Other objects depend on public.memory_chunks: %s. Nothing was changed.', dependents),
            hint = 'Drop or detach them, and repeat this. They are never dropped along with it.';
    end if;

    -- The journal may be missing if the migration was recorded without running it (--fake).
    if to_regnamespace('memops_quarantine') is null then
        create schema memops_quarantine;
        comment on schema memops_quarantine is
            'Tables that memops moved out of public instead of dropping them, and the journal of those moves.';
        revoke all on schema memops_quarantine from public;
    end if;
    if not (select pg_has_role(nspowner, 'usage') from pg_catalog.pg_namespace where nspname = 'memops_quarantine') then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('Role %I does not own the schema memops_quarantine, whose owner could drop what is kept in it. '
                'Nothing was changed.', current_user),
            hint = 'Have a superuser run: alter schema memops_quarantine owner to the role that owns public.memory_chunks.';
    end if;
    if to_regclass('memops_quarantine.journal') is null then
        create table memops_quarantine.journal (
            id bigint generated always as identity primary key,
            happened_at timestamptz not null default pg_catalog.clock_timestamp(),
            action text not null check (action in ('deploy', 'quarantine', 'drop', 'undo', 'purge', 'restore')),
            table_name text not null,
            table_oid oid,
            names jsonb,
            acl jsonb,
            run_id text default nullif(pg_catalog.current_setting('memops.run_id', true), ''),
            xid xid8 not null default pg_catalog.pg_current_xact_id(),
            by_role text not null default session_user,
            application_name text not null default pg_catalog.current_setting('application_name')
        );
        revoke all on table memops_quarantine.journal from public;
    end if;

    -- A role that row-level security holds for sees a part of the rows, perhaps none: it must not decide that there are none.
    perform set_config('row_security', 'off', true);
    if row_security_active(victim) then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format('Row-level security hides rows of public.memory_chunks from role %I: it cannot know whether '
                'the table is empty. Nothing was changed.', current_user),
            hint = 'Connect as a role that owns the table and has BYPASSRLS, or as superuser, and repeat this.';
    end if;
    -- A transaction that is not READ COMMITTED does not see what others have committed since it began: "empty" proves nothing.
    -- And looking for a row in a big file full of deleted ones takes too long: nothing is lost by keeping that, too.
    if current_setting('transaction_isolation') = 'read committed'
        and pg_relation_size(victim) <= 16 * 1024 * 1024
        and not exists (select from only public.memory_chunks)
    then
        drop table public.memory_chunks;
        insert into memops_quarantine.journal (action, table_name, table_oid) values ('drop', 'memory_chunks', victim);
    else
        loop
            stamp := to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD_HH24MISS_US');
            new_name := 'memory_chunks_' || stamp;
            exit when to_regclass(format('public.%I', new_name)) is null
                and to_regclass(format('memops_quarantine.%I', new_name)) is null;
        end loop;

        -- Free the names of indexes (and with them, of constraints) and sequences, so that the next deployment can use them.
        for part in
            select c.oid, c.relname from pg_catalog.pg_class c
            where c.oid in (select indexrelid from pg_catalog.pg_index where indrelid = victim)
                or (c.relkind = 'S' and c.oid in (
                    select objid from pg_catalog.pg_depend
                    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and refobjid = victim
                ))
            order by c.relname
        loop
            number := 0;
            loop
                -- 63 bytes are all that a name may have; the stamp takes 23 of them, the number up to 3.
                new_name := part.relname;
                while octet_length(new_name) > case number when 0 then 40 else 37 end loop
                    new_name := left(new_name, -1);
                end loop;
                new_name := new_name || case number when 0 then '' else '_' || number end || '_' || stamp;
                exit when to_regclass(format('public.%I', new_name)) is null
                    and to_regclass(format('memops_quarantine.%I', new_name)) is null;
                number := number + 1;
            end loop;
            execute format('alter table public.%I rename to %I', part.relname, new_name);
            names := names || jsonb_build_object(new_name, part.relname);
        end loop;

        -- Who may do what, so that an undo can give it back. PUBLIC is null; a column is null for the whole table.
        select coalesce(jsonb_agg(jsonb_build_object(
            'grantee', case grants.grantee when 0 then null else pg_get_userbyid(grants.grantee) end,
            'privilege', grants.privilege_type,
            'grantable', grants.is_grantable,
            'column', grants.attname,
            'grantor', pg_get_userbyid(grants.grantor)
        ) order by grants.grantee, grants.attname nulls first, grants.privilege_type, grants.grantor), '[]') into acl
        from (
            select x.*, null::name as attname from aclexplode(relation.relacl) x
            union all
            select x.*, a.attname from pg_catalog.pg_attribute a, aclexplode(a.attacl) x
            where a.attrelid = victim and not a.attisdropped
        ) grants
        where grants.grantee <> relation.relowner;

        -- Revoking from the table revokes from its columns too; CASCADE reaches those to whom a grant was passed on.
        for part in
            select distinct grants.grantee from jsonb_to_recordset(acl) as grants (grantee text)
        loop
            execute format('revoke all on table public.memory_chunks from %s cascade',
                coalesce(quote_ident(part.grantee), 'public'));
        end loop;
        if exists (
            select from pg_catalog.pg_class c, aclexplode(c.relacl) x where c.oid = victim and x.grantee <> c.relowner
            union all
            select from pg_catalog.pg_attribute a, aclexplode(a.attacl) x
            where a.attrelid = victim and not a.attisdropped and x.grantee <> relation.relowner
        ) then
            raise exception using
                errcode = 'insufficient_privilege',
                message = 'Not every grant on public.memory_chunks could be revoked. Nothing was changed.',
                hint = 'See them by \dp public.memory_chunks, revoke them by hand, and repeat this.';
        end if;

        new_name := 'memory_chunks_' || stamp;
        execute format('alter table public.memory_chunks rename to %I', new_name);
        execute format('alter table public.%I set schema memops_quarantine', new_name);
        insert into memops_quarantine.journal (action, table_name, table_oid, names, acl)
        values ('quarantine', new_name, victim, names, acl);
        raise notice 'public.memory_chunks is now memops_quarantine.%: nothing is lost.', new_name;
    end if;

    perform set_config('row_security', kept_row_security, true);
    perform set_config('lock_timeout', kept_lock_timeout, true);
    perform set_config('search_path', kept_search_path, true);
end
$memops$;
