-- The approximate index that search uses for big tenants. Small ones are searched exactly, through a b-tree.
-- On a table with many rows, set maintenance_work_mem (about 7 KB a row) and add "concurrently".
create index idx_memory_chunks_embedding_hnsw on public.memory_chunks
    using hnsw (embedding public.vector_cosine_ops)
    where user_hash is not null;
