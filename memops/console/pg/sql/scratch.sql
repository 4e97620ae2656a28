-- name: has_template
-- Is the template there, and may this role copy it?
select exists (
    select from pg_catalog.pg_database d
    where d.datname = %(name)s and (d.datistemplate or pg_catalog.pg_has_role(current_user, d.datdba, 'usage'))
)

-- name: create
-- Makes a scratch database.
create database {} template {}

-- name: drop
-- Drops a scratch database and whoever is still connected to it.
drop database if exists {} with (force)

-- name: drop_unused
-- Drops a scratch database that nobody is connected to.
drop database if exists {}

-- name: hold
-- Says that somebody uses the scratch database of this token, until the session ends.
select pg_catalog.pg_advisory_lock(%(space)s::int4, ('x' || %(token)s::text)::bit(32)::int4)

-- name: is_held
-- Does any session hold a scratch database?
select exists (
    select from pg_catalog.pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.classid = %(space)s::int4::oid
)

-- name: left_behind
-- Which scratch databases does nobody hold?
select d.datname::text
from pg_catalog.pg_database d
where d.datname ~ %(pattern)s
    and pg_catalog.pg_has_role(current_user, d.datdba, 'usage')
    and not exists (
        select from pg_catalog.pg_locks l
        where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.classid = %(space)s::int4::oid
            and l.objid = ('x' || pg_catalog.substring(d.datname::text, %(pattern)s))::bit(32)::int4::oid
    )

-- name: missing_roles
-- Which of these roles does the server not have?
select name from pg_catalog.unnest(%(names)s::text[]) as name
where name <> 'public' and not exists (select from pg_catalog.pg_roles r where r.rolname = name)
order by name

-- name: create_role
-- Makes a role that a grant, a policy or an owner of the archive names; nobody can log in as it.
create role {} nologin

-- name: is_member
-- May this role act as another one, and so give it a table?
select pg_catalog.pg_has_role(%(member)s::text, r.oid, 'member') from pg_catalog.pg_roles r where r.rolname = %(name)s

-- name: make_member
-- Lets the restoring role give a table to its owner.
grant {} to {}

-- name: make_schema
-- A dump of one table does not make the table's schema.
create schema if not exists {}

-- name: leave_bodies_unchecked
-- A function may name tables that a scratch database does not have.
select pg_catalog.set_config('check_function_bodies', 'off', false)

-- name: let_owner_in
-- A table can only be given to a role that may create one in its schema.
grant usage, create on schema {} to {}
