#!/usr/bin/env python3
"""Are texts that a schema's grammar lets through valid?  schema_samples.py BUILD_FOLDER [COUNT [SEED]]

Random texts of every schema of schemas.json, made by schema_samples, parsed by Python's json and checked by the jsonschema
package (draft 2020-12, formats too). Of every schema some texts must come to an end.
"""
import collections
import decimal
import json
import pathlib
import subprocess
import sys

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent


def main():
    build, count, seed = pathlib.Path(sys.argv[1]), *(sys.argv[2:] + ["60", "1"][len(sys.argv) - 2:])
    exactly = {"parse_float": decimal.Decimal}
    schemas = json.loads((HERE / "schemas.json").read_text(encoding="utf-8"), **exactly)
    lines = subprocess.run([build / "schema_samples", HERE / "schemas.json", count, seed], check=True,
                           capture_output=True, text=True).stdout.split("\n")[:-1]
    validator = jsonschema.Draft202012Validator
    checkers = [validator(schema, format_checker=validator.FORMAT_CHECKER) for schema in schemas]
    ended, failures = collections.Counter(), 0
    for index, text in map(json.loads, lines):
        if text is None:
            continue
        ended[index] += 1
        try:
            checkers[index].validate(json.loads(text, **exactly))
        except (ValueError, jsonschema.ValidationError) as error:
            failures += 1
            print(f"schema {index}: {schemas[index]}\n  {text!r}\n  {str(error).splitlines()[0]}")
    for index, schema in enumerate(schemas):
        if ended[index] < int(count) // 10:
            failures += 1
            print(f"schema {index}: only {ended[index]} of {count} texts ended: {schema}")
    print(f"{sum(ended.values())} texts of {len(schemas)} schemas, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
