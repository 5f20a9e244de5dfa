"""Parquet files as pyarrow writes them, with their rows as JSON beside them, and TRL's packings of random lengths.

Made with pyarrow 26.0.1, datasets 5.2.0, trl 1.16.0:

    python tests/golden/parquet.py

writes tests/golden/parquet/.
"""

import datetime as dt
import decimal
import json
import pathlib
import random

import pyarrow as pa
import pyarrow.parquet as pq
from trl.data_utils import _pack_bfd, _pack_wrapped

OUT = pathlib.Path(__file__).parent / "parquet"
UTC = dt.timezone.utc


def plain(value):
    """A value as proximal's reader gives it: dates and times as text in UTC."""
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f +00:00")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def write(name, table, **options):
    pq.write_table(table, OUT / f"{name}.parquet", **options)
    rows = [plain(row) for row in table.to_pylist()]
    (OUT / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False, indent=0))


def scalars():
    when = dt.datetime(2024, 2, 29, 23, 59, 58, 765432, tzinfo=UTC)
    before = dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    columns = {
        "i8": pa.array([-128, None, 127], pa.int8()),
        "u8": pa.array([0, 255, 1], pa.uint8()),
        "i32": pa.array([-(2**31), 0, 2**31 - 1], pa.int32()),
        "i64": pa.array([-(2**63), 2**53 + 1, 2**63 - 1], pa.int64()),
        "u64": pa.array([0, 2**64 - 1, 1], pa.uint64()),
        "f32": pa.array([0.1, -1.5, None], pa.float32()),
        "f64": pa.array([0.1, 1e300, -0.0], pa.float64()),
        "yes": pa.array([True, False, None], pa.bool_()),
        "text": pa.array(["naïve 日本語 🙂", "", None], pa.string()),
        "large": pa.array(["line\nline", '"quoted", {braces}', "\t"], pa.large_string()),
        "word": pa.array(["a", "b", "a"]).dictionary_encode(),
        "day": pa.array([dt.date(2024, 2, 29), None, dt.date(1969, 12, 31)], pa.date32()),
        "us": pa.array([when, before, None], pa.timestamp("us", tz="UTC")),
        "ns": pa.array([when, before, None], pa.timestamp("ns", tz="UTC")),
        "price": pa.array([decimal.Decimal("12.34"), None, decimal.Decimal("-0.05")], pa.decimal128(9, 2)),
        "raw": pa.array([b"\x00\xff", None, b""], pa.binary()),
    }
    write("scalars", pa.table(columns), compression="snappy")


def nested():
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("messages", pa.list_(message)),
            ("tags", pa.list_(pa.string())),
            ("grid", pa.list_(pa.list_(pa.int64()))),
            ("meta", pa.struct([("source", pa.string()), ("scores", pa.list_(pa.float64()))])),
            ("index", pa.int64()),
        ]
    )

    def ask(question, answer):
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    rows = [
        {
            "messages": ask("Vad är 2 + 2?", "4 ✓"),
            "tags": ["a", "b"],
            "grid": [[1, 2], [], [3]],
            "meta": {"source": "x", "scores": [0.5]},
            "index": 0,
        },
        {"messages": ask("?", "!"), "tags": [], "grid": [], "meta": {"source": None, "scores": []}, "index": 1},
        {"messages": [], "tags": None, "grid": None, "meta": None, "index": 2},
        {
            "messages": [{"role": "system", "content": None}] + ask("q", "a"),
            "tags": [None, "c"],
            "grid": [[None]],
            "meta": {"source": "y", "scores": None},
            "index": 3,
        },
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    write("nested", table, compression="gzip", row_group_size=3)
    pq.write_table(table, OUT / "nested_v2.parquet", compression="snappy", data_page_version="2.0", use_dictionary=False)
    pq.write_table(table, OUT / "zstd.parquet", compression="zstd")


def stack_exchange():
    """Pairs of ids and two tables of texts, as the retrieval sets have them; two pairs point nowhere."""
    folder = OUT / "stack"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    queries = {"_id": ["q1", "q2", "q3"], "text": ["How do I exit vim?", "Why is the sky blue?", "Varför?"]}
    corpus = {"_id": ["1", "2", "4"], "title": ["", "", ""], "text": ["Type :q!", "Rayleigh scattering.", "Därför."]}
    pairs = {"query-id": ["q1", "q2", "q9", "q3", "q3"], "corpus-id": [1, 2, 2, 3, 4], "score": [1.0, 0.5, 1.0, 1.0, 0.25]}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    pq.write_table(pa.table(corpus), folder / "corpus.parquet")
    for shard, rows in enumerate([slice(0, 2), slice(2, 5)]):
        part = pa.table({name: values[rows] for name, values in pairs.items()})
        pq.write_table(part, folder / "data" / f"train-{shard:05}-of-00002.parquet")


def pieces(rows):
    """[sample, start, end] runs of each packed row, whose tokens are sample * 10,000 + position."""
    packed = []
    for row in rows:
        runs = []
        for token in row:
            sample, at = divmod(token, 10_000)
            if runs and runs[-1][0] == sample and runs[-1][2] == at:
                runs[-1][2] = at + 1
            else:
                runs.append([sample, at, at + 1])
        packed.append(runs)
    return packed


def packing():
    rng = random.Random(0)
    cases = []
    for count, max_length, longest in [(6, 8, 8), (40, 16, 20), (60, 100, 60), (120, 32, 70), (30, 7, 40)]:
        lengths = [rng.choice([0, 1, rng.randint(1, longest), rng.randint(1, longest)]) for _ in range(count)]
        tokens = [[i * 10_000 + t for t in range(n)] for i, n in enumerate(lengths)]
        table = pa.table({"input_ids": pa.array(tokens, pa.list_(pa.int64()))})
        for strategy in ["bfd", "bfd_split", "wrapped"]:
            if strategy == "wrapped":
                out = _pack_wrapped(table, max_length)
            else:
                out = _pack_bfd(table, max_length, "truncate" if strategy == "bfd" else "split")
            bins = pieces(out["input_ids"].to_pylist())
            cases.append({"max_length": max_length, "strategy": strategy, "lengths": lengths, "bins": bins})
    (OUT / "packing.json").write_text(json.dumps(cases, separators=(",", ":")))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    scalars()
    nested()
    stack_exchange()
    packing()
