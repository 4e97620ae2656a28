"""The fingerprint of a table of ``default``, to compare what was there before with what is there after."""

from memops.console.pg import fingerprint, session


def print_of(relation: str = "public.memory_chunks") -> str:
    schema, _, name = relation.partition(".")
    with session.connect("default") as connection:
        return str(fingerprint.of(connection, schema=schema, name=name, algorithm="fp1-md5"))
