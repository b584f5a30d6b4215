#!/usr/bin/env python3
"""Checks the JSON Schemas of the documents: check_schema.py PROGRAM FIXTURES

PROGRAM TYPE prints the schema of a type. Every document in FIXTURES/configs and each of its
canonical forms fits the schema of its type; documents with an unknown key do not.
"""

import json
import pathlib
import subprocess
import sys

try:
    import jsonschema
    import yaml
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(0)

SETTINGS = {"profiles.yml": "profiles", "client-config.yml": "client-config",
            "server-config.yml": "server-config"}


def schema_of(program, kind):
    schema = json.loads(subprocess.check_output([program, kind]))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def main():
    program, fixtures = sys.argv[1], pathlib.Path(sys.argv[2])
    validators = {}
    faults = []
    files = sorted(fixtures.glob("configs/*.yml")) + sorted(fixtures.glob("configs/canonical/*.yml"))
    for path in files:
        # As editors read it: words such as `on` are text there, so the schema has both.
        document = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
        kind = SETTINGS.get(path.name) or document["type"]
        if kind not in validators:
            validators[kind] = schema_of(program, kind)
        validator = validators[kind]
        for error in validator.iter_errors(document):
            best = jsonschema.exceptions.best_match([error])
            faults.append(f"{path.name}: {list(best.absolute_path)}: {best.message[:200]}")
        document["no_such_key"] = 1
        if validator.is_valid(document):
            faults.append(f"{path.name}: an unknown key fits")
    whole = schema_of(program, "")
    for path in files:
        if path.name in SETTINGS:
            continue
        if not whole.is_valid(json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))):
            faults.append(f"{path.name}: does not fit the schema of all types")
    print("\n".join(faults))
    print(f"{len(files)} documents, {len(faults)} faults")
    return 1 if faults or not files else 0


if __name__ == "__main__":
    sys.exit(main())
