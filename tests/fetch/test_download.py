"""Files over HTTP from a server that cuts, stalls, redirects, refuses and damages."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from served import Site, served
from vwtransfer.config.composition import compose
from vwtransfer.config.fetching import FetchConfig
from vwtransfer.datasets.bad_data import UnusableError
from vwtransfer.errors import UserError
from vwtransfer.fetch.checksums import Digest
from vwtransfer.fetch.download import Downloads
from vwtransfer.fetch.items import Arrived, Gone, Item

DATA = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def settings() -> FetchConfig:
    found = compose().fetch
    assert found is not None
    return replace(found, timeout_s=0.3, backoff_s=0.01, attempts=3, max_wait_s=1, parallel=4)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = tmp_path / "site"
    root.mkdir()
    (root / "a.bin").write_bytes(DATA)
    with served(root) as found:
        yield found


def begins_right(path: Path) -> None:
    if path.read_bytes()[:2] != DATA[:2]:
        raise UnusableError("it begins wrong")


@pytest.fixture(scope="module")
def shared(settings: FetchConfig) -> Iterator[Downloads]:
    """Making a client takes longer than most of these tests."""
    with Downloads(settings) as found:
        yield found


def fetched(site: Site, downloads: Downloads, folder: Path, **other: Any) -> Arrived | Gone:
    values = {"address": f"{site.address}a.bin", "path": folder / "a.bin", "most": 10**6}
    ((_, result),) = downloads.get([Item(**{"check": begins_right, **values, **other})])
    return result


@pytest.mark.parametrize(
    "faults",
    [
        ["cut", "cut", "cut", "cut", "cut"],  # more than the attempts, but each brings more
        ["stall"],
        ["503", "429 0"],
        ["damaged once"],
        ["cut", "503", "cut", "500", "damaged once"],
    ],
)
def test_a_file_arrives_whole_whatever_happens(
    faults: list[str], site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.faults["a.bin"] = list(faults)
    result = fetched(site, shared, tmp_path, digest=Digest("md5", hashlib.md5(DATA).hexdigest()))
    assert result == Arrived(len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir() if path.name != "site"] == ["a.bin"]


def test_what_was_received_is_not_asked_for_again(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.faults["a.bin"] = ["cut", "404"]
    assert isinstance(fetched(site, shared, tmp_path), Gone)
    assert not (tmp_path / "a.bin").exists()
    half = len(DATA) // 2
    assert (tmp_path / ".a.bin.part").stat().st_size == half
    site.faults.clear()
    assert isinstance(fetched(site, shared, tmp_path), Arrived)  # as another process would
    assert site.asked[-1] == ("GET", "a.bin", f"bytes={half}-")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_two_versions_of_a_file_are_not_put_together(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.faults["a.bin"] = ["cut", "404"]
    fetched(site, shared, tmp_path)
    other = DATA[:1] + DATA[1:][::-1] + b"longer"
    (site.root / "a.bin").write_bytes(other)
    site.faults.clear()
    fetched(site, shared, tmp_path, check=lambda path: None)
    assert (tmp_path / "a.bin").read_bytes() == other


def test_a_server_without_ranges_sends_all_of_it_again(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.ranges = False
    site.faults["a.bin"] = ["cut"]
    assert isinstance(fetched(site, shared, tmp_path), Arrived)
    assert (tmp_path / "a.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["503"] * 9, r"a\.bin: the server answered 503 .*, 3 times in a row.*HTTPS_PROXY"),
        (["hang"] * 9, r"timed out, 3 times in a row|ReadTimeout"),
        (["429 3600"], r"asks to wait 3600 s, more than fetch.max_wait_s=1"),
        (["401"], r"answered 401"),
        (["to file:///etc/passwd"], r"Addresses are http:// or https://"),
        (["to ftp://127.0.0.1/a"], r"Addresses are http:// or https://"),
        (["to a.bin"] * 9, r"redirect"),
    ],
)
def test_what_will_not_come_is_given_up_with_the_reason(
    faults: list[str], message: str, site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.faults["a.bin"] = list(faults)
    with pytest.raises(UserError, match=message):
        fetched(site, shared, tmp_path)
    assert not (tmp_path / "a.bin").exists()


def test_a_server_that_asks_to_wait_is_waited_for(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    site.faults["a.bin"] = ["429 1"]
    began = time.monotonic()
    assert isinstance(fetched(site, shared, tmp_path), Arrived)
    assert time.monotonic() - began >= 1


def test_a_file_that_is_not_there_or_always_damaged_is_gone(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    for fault, reason in (("404", "the server answered 404"), ("damaged", "it begins wrong")):
        site.faults["a.bin"] = [fault]
        result = fetched(site, shared, tmp_path)
        assert isinstance(result, Gone)
        assert reason in result.reason
        assert not (tmp_path / "a.bin").exists()


def test_another_file_than_the_published_one_is_refused(
    site: Site, shared: Downloads, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"its md5 is \w+, not 00 as published, twice"):
        fetched(site, shared, tmp_path, digest=Digest("md5", "00"))
    with pytest.raises(UserError, match=r"has 102,400 bytes, not the 5 that are published"):
        fetched(site, shared, tmp_path, size=5)
    with pytest.raises(UserError, match=r"more than 1,000 bytes"):
        fetched(site, shared, tmp_path, most=1000)
    assert not (tmp_path / "a.bin").exists()


def test_redirects_mirrors_and_proxies_lead_to_the_file(
    site: Site,
    settings: FetchConfig,
    shared: Downloads,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.faults["b.bin"] = [f"to {site.address}a.bin"]
    assert isinstance(fetched(site, shared, tmp_path, address=f"{site.address}b.bin"), Arrived)
    mirrors = (
        ("http://nowhere.invalid/", "http://other.invalid/"),
        ("http://nowhere.invalid/x/", site.address),
    )
    address = "http://nowhere.invalid/x/a.bin"
    monkeypatch.setenv("http_proxy", site.address)
    with Downloads(replace(settings, mirrors=mirrors)) as elsewhere:
        monkeypatch.delenv("http_proxy")
        assert isinstance(fetched(site, elsewhere, tmp_path, address=address), Arrived)
        assert isinstance(
            fetched(site, elsewhere, tmp_path, address="http://proxied.invalid/a.bin"), Arrived
        )
    with pytest.raises(UserError, match=r"fetch.mirrors=\[\['a'\]\]: must be pairs"):
        Downloads(replace(settings, mirrors=(("a",),)))


def test_several_come_at_once_and_no_more(site: Site, shared: Downloads, tmp_path: Path) -> None:
    for i in range(12):
        (site.root / f"{i}.bin").write_bytes(DATA)
        site.faults[f"{i}.bin"] = ["slow"]
    items = [Item(f"{site.address}{i}.bin", tmp_path / f"{i}.bin", 10**6) for i in range(12)]
    assert len(list(shared.get(items))) == 12
    assert 2 <= site.most_at_once <= 4


def test_one_that_fails_ends_the_others_and_keeps_what_came(
    site: Site, settings: FetchConfig, tmp_path: Path
) -> None:
    site.faults["a.bin"] = ["401"]
    items = [Item(f"{site.address}a.bin", tmp_path / "a.bin", 10**6)]
    for i in range(3):
        (site.root / f"{i}.bin").write_bytes(DATA)
        items.append(Item(f"{site.address}{i}.bin", tmp_path / f"{i}.bin", 10**6))
    with Downloads(replace(settings, parallel=1)) as downloads, pytest.raises(UserError):
        list(downloads.get(items[::-1]))
    assert [(tmp_path / f"{i}.bin").exists() for i in range(3)] == [True] * 3
