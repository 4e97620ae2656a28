-- Makes public.memory_chunks: table, row-level security, indexes, grants.
--
-- `manage.py migrate memops` runs this text in one transaction. Without Django, as the role that is to own the table:
--
--     psql --single-transaction -v ON_ERROR_STOP=1 -f memory_chunks_up.sql -f memory_chunks_hnsw.sql
--
-- Needs the extension vector in schema public and the application's role; roles.sql makes both. Where another application
-- role or another dimension is wanted, replace memops_app and vector(1536).

-- Refuse early and clearly; nothing has been changed yet.
do $memops$
begin
    if pg_catalog.to_regclass('public.memory_chunks') is not null then
        raise exception using
            errcode = 'duplicate_table',
            message = 'public.memory_chunks exists already. Nothing was changed.',
            hint = 'If another tool made it and it is as memops needs it, record the migration without running it: '
                'manage.py migrate memops --fake.';
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = 'memops_app') then
        raise exception using
            errcode = 'undefined_object',
            message = pg_catalog.format('The application''s role %I does not exist. Nothing was changed.', 'memops_app'),
            hint = 'Have a superuser run what `manage.py memops sql roles` prints, then repeat this.';
    end if;
    if pg_catalog.to_regtype('public.vector') is null then
        raise exception using
            errcode = 'undefined_object',
            message = 'The extension vector is not installed in schema public of this database. Nothing was changed.',
            hint = 'Have a superuser run: create extension vector schema public; then repeat this.';
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'memops_app' and (rolsuper or rolbypassrls)) then
        raise warning 'Row-level security does not hold for role %: it is superuser or has BYPASSRLS, and will see every tenant.',
            pg_catalog.quote_ident('memops_app');
    end if;
end
$memops$;

-- Where a rollback keeps the table, and the journal of what happened to it. Both outlive every rollback.
do $memops$
begin
    if pg_catalog.to_regnamespace('memops_quarantine') is null then
        create schema memops_quarantine;
        comment on schema memops_quarantine is
            'Tables that memops moved out of public instead of dropping them, and the journal of those moves.';
    end if;
    if pg_catalog.to_regclass('memops_quarantine.journal') is null then
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
    end if;
end
$memops$;
revoke all on schema memops_quarantine from public, memops_app;
revoke all on table memops_quarantine.journal from public, memops_app;

create table public.memory_chunks (
    id uuid primary key default pg_catalog.gen_random_uuid(),
    user_hash varchar(64) not null
        -- HMAC-SHA256 of the user id. A row without a tenant could be seen by a session without a tenant.
        constraint memory_chunks_user_hash_check check (user_hash ~ '^[0-9a-f]{64}$'),
    doc_id varchar(255) not null,
    source varchar(100) not null,
    text_plain text,
    text_cipher bytea,
    meta_cipher bytea,
    embedding public.vector(1536),
    emb_cipher bytea,
    chunk_index int not null,
    char_start int,
    char_end int,
    created_at timestamptz not null default pg_catalog.now(),
    updated_at timestamptz not null default pg_catalog.now(),
    expires_at timestamptz,
    tags text[],
    model varchar(100)
);

-- Row-level security, for the owner too. Without a tenant (never set: null; after a transaction that had one: '') no row is
-- seen and none can be written. current_setting is not wrapped in a sub-select: that would hide the tenant from the planner.
alter table public.memory_chunks enable row level security;
alter table public.memory_chunks force row level security;
create policy memory_tenant_isolation on public.memory_chunks
    as permissive for all to memops_app
    using (user_hash = nullif(pg_catalog.current_setting('app.user_hash', true), ''))
    with check (user_hash = nullif(pg_catalog.current_setting('app.user_hash', true), ''));

create index idx_memory_chunks_user_hash_created on public.memory_chunks (user_hash, created_at);
create index idx_memory_chunks_doc_id on public.memory_chunks (doc_id);
create index idx_memory_chunks_source on public.memory_chunks (source);
create index idx_memory_chunks_created_at on public.memory_chunks (created_at);
create index idx_memory_chunks_expires_at on public.memory_chunks (expires_at);
create index idx_memory_chunks_user_hash on public.memory_chunks (user_hash);
-- A tenant's embedded rows. The vector itself does not fit into a b-tree page.
create index idx_memory_chunks_user_embedding on public.memory_chunks (user_hash, id) where embedding is not null;

-- What default privileges may have given goes first.
revoke all on table public.memory_chunks from public, memops_app;
grant select, insert, update, delete on table public.memory_chunks to memops_app;

insert into memops_quarantine.journal (action, table_name, table_oid)
values ('deploy', 'memory_chunks', 'public.memory_chunks'::pg_catalog.regclass);
