-- What a superuser prepares once for each server: roles, extension, and the template for proving backups.
--
--     psql -d postgres -v ON_ERROR_STOP=1 -f roles.sql
--
-- Safe to repeat. No password is in here: give each role its own afterwards, in psql, by \password memops_owner and
-- \password memops_app; neither the server's log nor a history file keeps it then. Names can be changed here and nowhere below:
\set app_role 'memops_app'
\set owner_role 'memops_owner'
\set database 'memops'
\set scratch_template 'memops_scratch'

-- The owner migrates, backs up and rolls back. It is no superuser; BYPASSRLS lets it see every tenant's rows, without which a
-- backup would be a part of the table; CREATEDB lets it make the scratch databases in which backups are proved.
select format('create role %I', :'owner_role')
where not exists (select from pg_catalog.pg_roles where rolname = :'owner_role') \gexec
alter role :"owner_role" with login nosuperuser bypassrls createdb nocreaterole noreplication;

-- The application. Row-level security has to hold for it: NOBYPASSRLS, and member of nothing that has it. Its rights on
-- memory_chunks come from the migration.
select format('create role %I', :'app_role')
where not exists (select from pg_catalog.pg_roles where rolname = :'app_role') \gexec
alter role :"app_role" with login nosuperuser nobypassrls nocreatedb nocreaterole noreplication;

-- The owner sees who is in the way of a change (pg_monitor), and has an autovacuum that is in the way cancelled early
-- (deadlock_timeout; PostgreSQL 15 and later can grant that).
grant pg_monitor to :"owner_role";
select format('grant set on parameter deadlock_timeout to %I', :'owner_role')
where current_setting('server_version_num')::int >= 150000 \gexec

-- The owner tries out a restored table as the application before it is put in place; it does not inherit the application's
-- rights (before PostgreSQL 16 it does). Without this grant, the catalogue alone says that tenants are kept apart.
select format('grant %I to %I%s', :'app_role', :'owner_role',
    case when current_setting('server_version_num')::int >= 160000 then ' with inherit false, set true' else '' end) \gexec

-- Optional, and off: with this, the owner can end sessions of other roles that idle in a transaction and hold memory_chunks,
-- where an approved plan says so (memops rollback --end-idle SECONDS). PostgreSQL gives it for every session of the server
-- that is not a superuser's. Without it, memops ends those of its own role alone, and names the others.
-- grant pg_signal_backend to :"owner_role";

-- The database. One that is there already keeps its owner.
select format('create database %I owner %I', :'database', :'owner_role')
where not exists (select from pg_catalog.pg_database where datname = :'database') \gexec
grant connect, create, temporary on database :"database" to :"owner_role";
grant connect on database :"database" to :"app_role";

-- The template of the scratch databases. It has the extension, which only a superuser can make; while it is a template nobody
-- can connect to it, since it can be copied only while nobody is.
select format('create database %I owner %I', :'scratch_template', :'owner_role')
where not exists (select from pg_catalog.pg_database where datname = :'scratch_template') \gexec
alter database :"scratch_template" with is_template true allow_connections true;
\connect :"scratch_template"
create extension if not exists vector schema public;

\connect :"database"
alter database :"scratch_template" with allow_connections false;
create extension if not exists vector schema public;
grant usage, create on schema public to :"owner_role";
grant usage on schema public to :"app_role";
