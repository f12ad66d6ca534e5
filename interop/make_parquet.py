"""Writes the parquet files of src/test/resources/parquet, of the items in src/test/resources/tasks.

They have the folders, fields and types of the data sets on the hub, and its codecs. To be run by hand, in a Python
environment of its own that has PyArrow 26.0.1.
"""

import csv
import json
import pathlib

import pyarrow
import pyarrow.parquet

RESOURCES = pathlib.Path(__file__).parent.parent / "src" / "test" / "resources"
TASKS = RESOURCES / "tasks"


def lines(name):
    return [json.loads(line) for line in (TASKS / name).read_text().splitlines()]


def write(name, rows, **options):
    file = RESOURCES / "parquet" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, **options)


def arc(item):
    choices = item["question"]["choices"]
    return {
        "id": item["id"],
        "question": item["question"]["stem"],
        "choices": {"text": [c["text"] for c in choices], "label": [c["label"] for c in choices]},
        "answerKey": item["answerKey"],
    }


def mmlu(name):
    with open(TASKS / "data" / name, newline="") as file:
        return [
            {"question": row[0], "subject": "anatomy", "choices": row[1:5], "answer": "ABCD".index(row[5])}
            for row in csv.reader(file)
        ]


def main():
    for split, name in (("test", "Test"), ("train", "Train")):
        rows = [arc(item) for item in lines(f"ARC-Easy/ARC-Easy-{name}.jsonl")][:12]
        write(
            f"allenai/ai2_arc/ARC-Easy/{split}-00000-of-00001.parquet", rows, compression="zstd", row_group_size=5
        )
    hellaswag = lines("hellaswag_val.jsonl")
    for part, rows in enumerate((hellaswag[:7], hellaswag[7:])):
        write(
            f"hellaswag/data/validation-0000{part}-of-00002.parquet",
            rows,
            compression="snappy",
            data_page_version="2.0",
        )
    race = [{"article": item["article"], "problems": str(item["problems"])} for item in lines("race/test.jsonl")]
    write("EleutherAI/race/high/test/0000.parquet", race, compression="snappy")
    for split in ("test", "dev"):
        write(f"cais/mmlu/anatomy/{split}-00000-of-00001.parquet", mmlu(f"{split}/anatomy_{split}.csv"), compression="gzip")
    # More rows than the library that laco reads parquet by decodes at a time.
    many = [{"number": i % 7, "texts": ["a", "b"]} for i in range(30000)]
    write("many.parquet", many, compression="zstd")
    write("piqa/validation.parquet", [{"goal": "g", "sol1": "a", "sol2": "b", "label": 0}], compression="brotli")


if __name__ == "__main__":
    main()
