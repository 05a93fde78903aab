// Uses the generated types against a gateway: node use_client.js BASE_URL. Everything is asserted; nothing is said until
// the end. Type-checked by `tsc --strict` beside the generated taskweir.ts.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./taskweir.js";

type Schemas = components["schemas"];

const base = process.argv[2]?.replace(/\/$/, "");
assert.ok(base, "usage: use_client.js BASE_URL");
const client = createClient<paths>({ baseUrl: base });
const run = randomUUID();
const queue = `ts-${run.slice(0, 8)}`;

const body: Schemas["TaskRequest"] = {
  type: "process",
  data: { hello: ["world", 1, null] },
  queue,
  priority: "high",
  max_retries: 3,
  retry: { initial_delay: 0.5, multiplier: 2, max_delay: 10, jitter: 0.1 },
  timeout: 60,
  unique_key: `key-${run}`,
  labels: { run },
  // Nothing takes it while it is looked at.
  delay: 3600,
};

const live = await client.GET("/health/live", { parseAs: "text" });
assert.equal(live.data, "alive\n");
const health = await client.GET("/health");
assert.ok(health.data && ["ok", "degraded"].includes(health.data.status));

// Submit; again under the same key; and again under another, which its unique key refuses.
const submit = (key: string) => client.POST("/tasks", { body, params: { header: { "Idempotency-Key": key } } });
const taken = await submit(run);
const accepted = taken.data;
assert.equal(taken.response.status, 202);
assert.ok(accepted, JSON.stringify(taken.error));
const status: Schemas["Status"] = accepted.status;
assert.deepEqual([status, accepted.priority, accepted.type, accepted.queue], ["scheduled", "high", "process", queue]);
const { id, position } = accepted;
assert.equal(taken.response.headers.get("location"), `/tasks/${id}`);
const same = await submit(run);
assert.equal(same.response.status, 200);
assert.equal(same.data?.id, id);
const other = await submit(`${run}-2`);
assert.equal(other.response.status, 409);
assert.equal(other.error?.existing_id, id);

// Get.
const { data: task } = await client.GET("/tasks/{id}", { params: { path: { id } } });
assert.ok(task);
assert.deepEqual([task.id, task.type, task.queue, task.status], [id, "process", queue, "scheduled"]);
assert.deepEqual(task.data, body.data);
assert.deepEqual(task.labels, { run });
assert.deepEqual([task.timeout, task.max_retries, task.retry.jitter, task.attempt], [60, 3, 0.1, 0]);
assert.equal(task.result, undefined);
const path = { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV" };
const missing = await client.GET("/tasks/{id}", { params: { path } });
assert.equal(missing.response.status, 404);
assert.equal(missing.error?.status, 404);

// History.
const { data: history } = await client.GET("/tasks/{id}/history", { params: { path: { id } } });
assert.ok(history?.complete && history.id === id);
const first: Schemas["HistoryEvent"] | undefined = history.events[0];
assert.deepEqual([first?.version, first?.position, first?.status], [1, position, "scheduled"]);
assert.match(first?.type ?? "", /submitted/i);

// List: what was just submitted is there, by its label and by its page.
const listed = await client.GET("/tasks", { params: { query: { label: `run=${run}`, min_position: position } } });
assert.deepEqual(listed.data?.tasks.map((one) => one.id), [id]);
assert.equal(listed.data?.cursor, undefined);
const page = await client.GET("/tasks", { params: { query: { limit: 1, priority: "high", type: "process" } } });
assert.equal(page.data?.tasks.length, 1);
const tooLong = await client.GET("/tasks", { params: { query: { limit: 501 } } });
assert.equal(tooLong.error?.errors?.[0]?.field, "limit");

// A bad submit is refused by the names of its fields.
const bad: Schemas["TaskRequest"] = { type: "no such type!", max_retries: 1001, retry: { initial_delay: -1 } };
const refused = await client.POST("/tasks", { body: bad });
assert.equal(refused.response.status, 422);
assert.equal(refused.data, undefined);
const problem: Schemas["Problem"] | undefined = refused.error;
assert.ok(problem?.errors && problem.detail);
assert.deepEqual([problem.type, problem.status], ["about:blank", 422]);
const fields = problem.errors.map((error) => error.field).sort();
assert.deepEqual(fields, ["max_retries", "retry.initial_delay", "type"]);
// The types refuse what the gateway would: each line is an error to tsc.
// @ts-expect-error a word that is no priority
const wrongPriority: Schemas["TaskRequest"] = { type: "process", priority: "urgent" };
// @ts-expect-error no type
const wrongType: Schemas["TaskRequest"] = { priority: "low" };
for (const wrong of [wrongPriority, wrongType]) {
  assert.equal((await client.POST("/tasks", { body: wrong })).response.status, 422);
}

// A batch, of which one is bad, and what a bulk call would do.
const good = { ...body, unique_key: `batch-${run}`, idempotency_key: `batch-${run}` };
const { data: batch } = await client.POST("/tasks/batch", { body: { tasks: [good, bad] } });
assert.deepEqual([batch?.accepted, batch?.rejected], [1, 1]);
assert.equal(batch?.items[1]?.errors?.[0]?.field, "type");
const seen = await client.GET("/tasks", { params: { query: { min_position: batch?.items[0]?.task?.position } } });
assert.equal(seen.response.status, 200);
const bulk = await client.POST("/tasks/cancel", { body: { label: `run=${run}`, dry_run: true } });
assert.ok(bulk.data && "dry_run" in bulk.data && bulk.data.matching === 2);

// The stream, in the types as text: opened, and closed.
const stop = new AbortController();
const stream = await client.GET("/events", { parseAs: "stream", signal: stop.signal });
assert.equal(stream.response.status, 200);
assert.ok(stream.data);
stop.abort();
console.log(`typescript: ${id} submitted, read, listed and refused as documented`);
