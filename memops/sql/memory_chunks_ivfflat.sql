-- The other approximate index; not made by default. Its lists are learnt from the rows that are there when it is built:
-- made on an empty table it finds little, and the planner prefers it nevertheless. Build it again after loading data.
create index idx_memory_chunks_embedding_ivfflat on public.memory_chunks
    using ivfflat (embedding public.vector_cosine_ops) with (lists = 100)
    where user_hash is not null;
