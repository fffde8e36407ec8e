"""Reads a Parquet file with pyarrow and with DuckDB, and prints what each found as one JSON object: the types of
its columns, its rows, and of its footer the row groups, codecs, statistics and dictionaries.

  parquet_file.py FILE
"""

import datetime
import json
import sys

import duckdb
import pyarrow.parquet


def plain(value):
    """Times as text in UTC; the rest as it is."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def by_pyarrow(path):
    file = pyarrow.parquet.ParquetFile(path)
    table = file.read()
    chunks = [
        file.metadata.row_group(group).column(column)
        for group in range(file.metadata.num_row_groups)
        for column in range(file.metadata.num_columns)
    ]
    return {
        "types": {field.name: str(field.type) for field in table.schema},
        "rows": plain(table.to_pylist()),
        "groups": file.metadata.num_row_groups,
        "codecs": sorted({chunk.compression for chunk in chunks}),
        "statistics": all(chunk.is_stats_set for chunk in chunks),
        "dictionary": any(chunk.has_dictionary_page for chunk in chunks),
        "first": [chunks[0].statistics.min, chunks[0].statistics.max],
    }


def by_duckdb(path):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    relation = connection.read_parquet(path)
    names = relation.columns
    return {
        "types": dict(zip(names, map(str, relation.types))),
        "rows": [dict(zip(names, plain(list(row)))) for row in relation.fetchall()],
    }


print(json.dumps({"pyarrow": by_pyarrow(sys.argv[1]), "duckdb": by_duckdb(sys.argv[1])}))
