"""Vectors in a Milvus, where one machine does not search them all: `--store milvus:http://…`, or `milvus:FILE.db`.

One collection a generation, searched by FLAT with the inner product, which is what USearch compares too. Titles, map
and windows stay in the index's folder.

Legend: N rows, D dimensions.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.digest import digest_bytes
from schemas.one_line import one_line
from trainer.search.nearest import Nearest, best_first

_AT_ONCE = 10_000
_PREFIX = "milvus:"


def collection_name(folder: str, identity: str) -> str:
    return f"openmulan_{digest_bytes(folder.encode())[:12]}_{identity[:16]}"


def absolute_store(store: str) -> str:
    """A store as it is named from whatever folder. Raises ValueError where it is none."""
    address = store.removeprefix(_PREFIX)
    if not store.startswith(_PREFIX) or not address:
        raise ValueError(f"--store {store}: it is milvus:ADDRESS, or milvus:FILE.db for Milvus Lite")
    return store if "://" in address else f"{_PREFIX}{Path(address).resolve()}"


class MilvusStore:
    """Raises ValueError where the store cannot be used; of pymilvus that is not installed ModuleNotFoundError."""

    def __init__(self, store: str, name: str) -> None:
        from pymilvus import MilvusClient, MilvusException

        store = absolute_store(store)
        self._store, self._name, self._errors = store, name, MilvusException
        try:
            self._client: Any = MilvusClient(store.removeprefix(_PREFIX))
        except (MilvusException, OSError, ValueError) as error:
            raise self._failed(error) from error

    def write(self, matrix_ND: NDArray[np.float16]) -> None:
        """Make the collection, in the place of one that a killed command has left."""
        from pymilvus import DataType

        try:
            self.drop()
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=matrix_ND.shape[1])
            flat = self._client.prepare_index_params()
            flat.add_index("vector", index_type="FLAT", metric_type="IP")
            self._client.create_collection(self._name, schema=schema, index_params=flat)
            for start in range(0, len(matrix_ND), _AT_ONCE):
                rows = matrix_ND[start : start + _AT_ONCE].astype(np.float32)
                some = [{"row": start + number, "vector": row.tolist()} for number, row in enumerate(rows)]
                self._client.insert(self._name, some)
            self._client.flush(self._name)
        except self._errors as error:
            raise self._failed(error) from error

    def open(self) -> None:
        try:
            self._client.load_collection(self._name)
        except self._errors as error:
            raise self._failed(error) from error

    def drop(self) -> None:
        try:
            if self._client.has_collection(self._name):
                self._client.drop_collection(self._name)
        except self._errors as error:
            raise self._failed(error) from error

    def close(self) -> None:
        self._client.close()

    def __call__(self, query_D: NDArray[np.float32], k: int) -> Nearest:
        query = query_D.astype(np.float16).astype(np.float32).tolist()
        try:
            (found,) = self._client.search(self._name, data=[query], limit=k, search_params={"metric_type": "IP"})
        except self._errors as error:
            raise self._failed(error) from error
        rows = np.asarray([hit["row"] for hit in found], np.int64)
        return best_first(rows, np.asarray([hit["distance"] for hit in found], np.float32))

    def _failed(self, error: Exception) -> ValueError:
        said = one_line(error)
        return ValueError(f"--store {self._store}: cannot be used ({said[:300]})")
