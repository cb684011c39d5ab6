"""A dataset of parquet files on the hub, of which parts are read: some columns, some row groups."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vwtransfer.errors import UserError, quoted
from vwtransfer.models.checkpoints import offline

T = TypeVar("T")


class HubTable:
    """Parquet files of one revision of a dataset, by the hub's own client and with its login.

    Args:
        key: where the dataset stands in the config.
        repo: its id.
        revision: a branch, tag or commit.
        otherwise: what else a person can do who may not read it.
        parallel: files at once.
    """

    def __init__(self, key: str, repo: str, revision: str, otherwise: str, parallel: int) -> None:
        self.key, self.repo, self.revision = key, repo, revision
        self.otherwise, self.parallel = otherwise, parallel
        self.files = HfFileSystem(endpoint=constants.ENDPOINT, skip_instance_cache=True)
        self._stopping = threading.Event()

    @cached_property
    def root(self) -> str:
        """The dataset at its commit, as `HfFileSystem` calls it.

        Raises:
            UserError: it may not be read, or cannot be reached.
        """
        if offline():
            raise UserError(
                f"{self.key}={self.repo}: HF_HUB_OFFLINE is set. Unset it to have the hub asked."
                f"{self.otherwise}"
            )
        api = HfApi(endpoint=constants.ENDPOINT)
        with self.explained():
            api.auth_check(self.repo, repo_type="dataset")
            commit = api.dataset_info(self.repo, revision=self.revision).sha
        return f"datasets/{self.repo}@{commit}"

    def shards(self, pattern: str) -> list[str]:
        """The files whose paths in the dataset match; raises UserError where none does."""
        root = self.root
        with self.explained():
            found = sorted(self.files.glob(f"{root}/{pattern}"))
        if not found:
            raise UserError(f"{self.key}: {root} has no files {pattern}.")
        return found

    @contextmanager
    def opened(self, shard: str) -> Iterator[pq.ParquetFile]:
        """A file, of which each read asks for the bytes that it needs and no others."""
        with (
            self.explained(),
            self.files.open(shard, "rb", cache_type="none") as file,
            pq.ParquetFile(file) as table,
        ):
            yield table

    def group(self, file: pq.ParquetFile, group: int, column: str) -> pa.ChunkedArray:
        """A column of a row group.

        Raises:
            CancelledError: another file of `each` failed, or a person stopped it all.
        """
        if self._stopping.is_set():
            raise CancelledError
        return file.read_row_group(group, columns=[column]).column(0)

    def each(self, do: Callable[[str], T], shards: Iterable[str]) -> Iterator[tuple[str, T]]:
        """What `do` gives of each file, several at once, as they are done.

        Where it ends early, no further row group is read.
        """
        pool = ThreadPoolExecutor(self.parallel, thread_name_prefix="hub")
        try:
            under_way = {pool.submit(do, shard): shard for shard in shards}
            for future in as_completed(under_way):
                yield under_way[future], future.result()
        finally:
            self._stopping.set()
            pool.shutdown(cancel_futures=True)
            self._stopping.clear()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """The hub's refusals as lines that say what to do."""
        page = f"https://huggingface.co/datasets/{self.repo}"
        try:
            yield
        except GatedRepoError as error:
            raise UserError(
                f"{self.key}={self.repo}: its owner asks for your consent. Accept the terms at "
                f"{page} and log in with: hf auth login.{self.otherwise}"
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(
                f"{self.key}={self.repo}: has no revision {self.revision}; see {page}/tree/main."
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"{self.key}={self.repo}: the hub has no such dataset that you may see. If it is "
                f"private, log in with: hf auth login.{self.otherwise}"
            ) from error
        except (HfHubHTTPError, httpx2.HTTPError, OSError, pa.ArrowException) as error:
            reason = quoted(error) or type(error).__name__
            raise UserError(
                f"{self.key}={self.repo}: cannot be read ({reason}). What came is kept: the same "
                f"command goes on.{self.otherwise}"
            ) from error
