-- name: may_be
-- May this role act as that one?
select pg_catalog.pg_has_role(current_user, r.oid, 'member') from pg_catalog.pg_roles r where r.rolname = %(role)s

-- name: tenants
-- Which tenant has rows, and how many? None where there is no row.
select user_hash, pg_catalog.count(*) from {}.{}
where user_hash = (select user_hash from {}.{} limit 1) group by user_hash

-- name: let_in
-- Lets the application see the schema, in a transaction that is rolled back.
grant usage on schema {} to {}

-- name: be
-- Acts as the application until the transaction ends.
set local role {}

-- name: as_the_application
-- Filters rows instead of refusing to.
select pg_catalog.set_config('row_security', 'on', true)

-- name: is_active
-- Does row-level security hold for this role at all? If it does not, nothing below would prove anything.
select pg_catalog.row_security_active(pg_catalog.format('%%I.%%I', %(schema)s::text, %(name)s::text)::pg_catalog.regclass)

-- name: be_tenant
-- Says who the user is; an empty text is nobody.
select pg_catalog.set_config('app.user_hash', %(tenant)s::text, true)

-- name: seen
-- How many rows are seen, and how many of them are others'?
select pg_catalog.count(*), pg_catalog.count(*) filter (where user_hash <> %(tenant)s::text) from {}.{}

-- name: write_as_another
-- Writes a row that belongs to somebody else.
insert into {}.{} (user_hash, doc_id, source, chunk_index) values (%(tenant)s::text, 'memops', 'memops', 0)

-- name: sealed
-- Some sealed values, with the tenant that they are bound to.
select user_hash, text_cipher, meta_cipher, emb_cipher from {}.{}
where text_cipher is not null or meta_cipher is not null or emb_cipher is not null
order by id limit %(most)s
