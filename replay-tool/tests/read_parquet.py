"""Prints a Parquet file as pyarrow reads it: one line with its columns, then a line of JSON for each row."""

import json
import sys

import pyarrow
import pyarrow.parquet

table = pyarrow.parquet.read_table(sys.argv[1])
columns = [[field.name, str(field.type), field.nullable] for field in table.schema]
print(json.dumps(columns))
# Times as the number that is on file: without a detour by Python's own, which know no leap in the calendar.
at = table.schema.get_field_index("time")
table = table.set_column(at, "time", table.column("time").cast(pyarrow.int64()))
for row in table.to_pylist():
    print(json.dumps(row))
