"""A table as this version has it, whichever version wrote it: the one place that says what an older one's rows have in
a column that came later.

So a column may be added without a new format version where it is nullable, which reads as null, or a list, which reads
as empty; so may a count (int64, which reads as 0) or a nullable field in a struct. A table that lacks anything else is
not one of ours. Columns and fields that this version does not know are left out.
"""

from typing import Any

import pyarrow as pa


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`. Raises ValueError where one cannot be had: it is not there and has no default, is null
    where it may not be, or has another type."""
    return pa.Table.from_arrays([_column(table, field) for field in schema], schema=schema)


def completed_row(row: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """The same for one row. Raises ValueError."""
    found: dict[str, Any] = _completed(row, pa.struct(list(schema)))
    return found


def _column(table: pa.Table, field: pa.Field) -> Any:
    if field.name not in table.schema.names:
        return pa.array([_default(field)] * table.num_rows, field.type)
    column = table[field.name]
    if column.null_count and not field.nullable:
        raise ValueError(f"{field.name} is null")
    if column.type == field.type:
        return column
    return pa.array([_completed(value, field.type) for value in column.to_pylist()], field.type)


def _completed(value: Any, kind: pa.DataType) -> Any:
    if isinstance(value, list) and pa.types.is_list(kind):
        return [_completed(item, kind.value_type) for item in value]
    if isinstance(value, dict) and pa.types.is_struct(kind):
        return {field.name: _field(value, field) for field in kind}
    return value


def _field(value: dict[str, Any], field: pa.Field) -> Any:
    if field.name not in value:
        return _default(field)
    if value[field.name] is None and not field.nullable:
        raise ValueError(f"{field.name} is null")
    return _completed(value[field.name], field.type)


def _default(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_int64(field.type):
        return 0
    raise ValueError(f"it lacks {field.name}")
